"""What a filter is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mmgpt.inference.endpoint import Endpoint


class Candidate(NamedTuple):
    """A pair that a filter judges.

    Args:
        id: of the pair; grows from pair to pair.
        item: the id of its item.
        instruction, answer: its texts.
        facts: what the model was told about the item.
    """

    id: int
    item: str
    instruction: str
    answer: str
    facts: str = ''


class Filter:
    """Drops pairs for one reason. Candidates come in the order of their items, the same one in every run.

    A subclass defines :meth:`__call__`, or :meth:`ask` where it asks a model.
    """

    asks = False  # by an endpoint

    def __call__(self, pair: Candidate) -> str | None:
        """Why the pair is dropped; None to keep it."""
        raise NotImplementedError

    async def ask(self, pair: Candidate, endpoint: Endpoint) -> str | None:
        """The same, by asking."""
        raise NotImplementedError

    def begin(self) -> None:
        """Called before the first pair of a run."""

    def end(self) -> None:
        """Called after the last pair of a run."""

    @classmethod
    def explanation(cls) -> str:
        """One sentence on what is dropped."""
        return (cls.__doc__ or '').partition('\n')[0]
