"""Says which parameters are trained, by patterns over their names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn


def set_trainable(model: nn.Module, patterns: Sequence[str]) -> None:
    """Trains the parameters that a pattern matches and freezes all others.

    Args:
        model: any module.
        patterns: shell-style patterns over parameter names. A pattern also matches what lies below it: ``'resampler'``
            is ``'resampler.*'``. An empty list freezes everything. An adapted layer is named as if it were plain.

    Raises:
        ValueError: a pattern matches no parameter; the message lists all such patterns and close names.
    """
    named = [(plain(name), parameter) for name, parameter in model.named_parameters(remove_duplicate=False)]
    names = [name for name, _ in named]
    idle = [pattern for pattern in patterns if not any(matches(name, pattern) for name in names)]
    if idle:
        known = sorted({name.rsplit('.', depth)[0] for name in names for depth in range(name.count('.') + 1)})
        hints = []
        for pattern in idle:
            close = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
            hints.append(f'{pattern!r}' + (f' (did you mean {" or ".join(map(repr, close))}?)' if close else ''))
        children = ', '.join(name for name, _ in model.named_children())
        raise ValueError(f'trainable: no parameter is matched by {", ".join(hints)}; the model consists of {children}')
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for name, parameter in named:
        if any(matches(name, pattern) for pattern in patterns):
            parameter.requires_grad_(True)


def plain(name: str) -> str:
    """The name that a parameter has where its layer carries no adapter."""
    return name.replace('.base_layer.', '.')


def matches(name: str, pattern: str) -> bool:
    """Whether a parameter's name is matched by a pattern or lies below it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f'{pattern}.*')
