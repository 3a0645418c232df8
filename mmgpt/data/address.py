"""How samples are named and measured: the values that samplers and the data set share."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """Which sample, and the how many-th time it is seen: whatever is random about it depends on this and the seed."""

    source: int
    index: int
    epoch: int = 0


class Length(NamedTuple):
    """How long a sample is."""

    tokens: int  # with its context
    lasting: bool  # chance has no say in it: it is the same in every epoch
