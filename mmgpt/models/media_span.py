"""Which media a token may see, as intervals. Packing, padding and text-only rows are only intervals too."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from mmgpt.structures import Part

Attend = Literal['previous', 'next', 'all_previous', 'all_next']


def media_span(
    input_ids: Tensor,
    segment_ids: Tensor | None,
    media_token_id: int,
    attend: Attend,
    attend_next: Tensor | None = None,
) -> Tensor:
    """The interval of media that each token may see.

    Nine tokens of one sample, ``#`` is an ``<image>`` mark, media 0 and 1 belong to the two marks; a token that may
    see no medium is shown as ``-``::

        tokens          a   b   #   c   d   #   e   f   g
        previous        -   -   0   0   0   1   1   1   1
        next            0   0   0   1   1   1   -   -   -
        all_previous    -   -   0   0   0   01  01  01  01
        all_next        0   0   0   01  01  01  -   -   -

    ``previous`` is Flamingo's (arXiv 2204.14198, section 2.3). ``next`` and ``all_next`` are what the code published
    with MultiModal-GPT computes: a mark sees its own medium, text sees up to the medium that comes next, text after the
    last mark sees nothing. A sample never sees the media of another sample of its row.

    Args:
        input_ids: token ids (R, S).
        segment_ids: (R, S), 0 = pad, 1..k = the samples of a row, each contiguous. None: one sample per row, no pads.
        media_token_id: the id of the ``<image>`` mark.
        attend: ``'previous'``, ``'next'``, ``'all_previous'`` or ``'all_next'``.
        attend_next: (R, K) int64, of the samples 1..k of each row: 1 = ``'next'``, 0 = ``'previous'`` instead of
            ``attend``, -1 = ``attend``. Default: ``attend`` for all.

    Returns:
        (R, S, 2) int64: the token sees media ``lo <= m < hi``, numbered in the order of the marks of the row;
        ``lo == hi`` where it may see none.

    Raises:
        ValueError: ``attend`` is not one of the four modes, or one that sees all media where a sample chooses.

    Example:
        >>> ids = torch.tensor([[5, 9, 5, 9, 5]])
        >>> media_span(ids, None, media_token_id=9, attend='previous')[0].tolist()
        [[0, 0], [0, 1], [0, 1], [1, 2], [1, 2]]
    """
    if attend not in get_args(Attend):
        raise ValueError(f'attend must be one of {", ".join(get_args(Attend))}, got {attend!r}')
    if attend_next is not None and attend.startswith('all'):
        raise ValueError(
            'samples choose between the previous and the next medium (attend_next), but the model has '
            f'attend={attend!r}: leave attend_next out of the data, or train with previous or next'
        )
    marks, start, end = _marks_of_segments(input_ids, segment_ids, media_token_id)
    seen = marks.cumsum(1)  # marks up to and including this token
    ahead = ~marks & _looks_ahead(input_ids, segment_ids, attend, attend_next)
    hi = seen + ahead.long()
    empty = (hi > end) | (hi <= start)
    if segment_ids is not None:
        empty = empty | (segment_ids == 0)
    lo = start if attend.startswith('all') else hi - 1
    return torch.stack((lo, hi), -1).masked_fill(empty.unsqueeze(-1), 0)


def _looks_ahead(input_ids: Tensor, segment_ids: Tensor | None, attend: Attend, attend_next: Tensor | None) -> Tensor:
    """(R, S) bool: the token belongs to a sample whose text sees the medium after it."""
    everywhere = torch.full_like(input_ids, attend.endswith('next'), dtype=torch.bool)
    if attend_next is None:
        return everywhere
    if segment_ids is None:
        segment_ids = torch.ones_like(input_ids)
    chosen = torch.nn.functional.pad(attend_next, (1, 0), value=-1).gather(1, segment_ids)
    return torch.where(chosen < 0, everywhere, chosen == 1)


def has_media(input_ids: Tensor, segment_ids: Tensor | None, media_token_id: int) -> Tensor:
    """(R, S) bool: the token belongs to a sample that has at least one ``<image>`` mark."""
    _, start, end = _marks_of_segments(input_ids, segment_ids, media_token_id)
    has = end > start
    return has if segment_ids is None else has & (segment_ids > 0)


def media_index(input_ids: Tensor, segment_ids: Tensor | None, media_token_id: int) -> Tensor:
    """The number of each medium within its sample, for all marks of the batch in row-major order: (marks,) int64."""
    marks, start, _ = _marks_of_segments(input_ids, segment_ids, media_token_id)
    return (marks.cumsum(1) - 1 - start)[marks]


def span_after(span: Tensor, segment_ids: Tensor | None, attend: Attend) -> Tensor:
    """The interval (R, 1, 2) of a text token that is decoded after the row: its last real token's, or none."""
    if attend.endswith('next'):
        return torch.zeros_like(span[:, :1])  # text after the last mark sees nothing
    return span.gather(1, last_tokens(span, segment_ids)[:, None, None].expand(-1, 1, 2))


def last_tokens(span: Tensor, segment_ids: Tensor | None) -> Tensor:
    """(R,) int64: the place of each row's last real token."""
    if segment_ids is None:
        return torch.full((len(span),), span.shape[1] - 1, device=span.device)
    return ((segment_ids > 0) * torch.arange(1, span.shape[1] + 1, device=span.device)).argmax(1)


def _marks_of_segments(input_ids: Tensor, segment_ids: Tensor | None, media_token_id: int):
    """Marks (R, S) bool, and for each token the number of marks of its row before its segment and up to its end."""
    marks = input_ids == media_token_id
    if segment_ids is None:
        total = marks.sum(1, keepdim=True)
        return marks, torch.zeros_like(total).expand_as(marks), total.expand_as(marks)
    seen = marks.cumsum(1)
    border = segment_ids[:, 1:] != segment_ids[:, :-1]
    edge = torch.ones_like(border[:, :1]) if border.shape[1] else marks.new_ones(marks.shape[0], 1)
    first, last = torch.cat((edge, border), 1), torch.cat((border, edge), 1)
    start = torch.where(first, seen - marks.long(), 0).cummax(1).values
    end = torch.where(last, seen, seen[:, -1:]).flip(1).cummin(1).values.flip(1)
    return marks, start, end


def runs(segment_ids: Tensor) -> list[tuple[int, int, int]]:
    """Row, start and end of each sample, and of each stretch of pads, of rows (R, S).

    Example:
        >>> runs(torch.tensor([[1, 1, 2], [1, 0, 0]]))
        [(0, 0, 2), (0, 2, 3), (1, 0, 1), (1, 1, 3)]
    """
    found = []
    for row, ids in enumerate(segment_ids):
        edges = (ids[1:] != ids[:-1]).nonzero().flatten().add(1).tolist()
        found += [(row, start, end) for start, end in pairwise((0, *edges, len(ids)))]
    return found


def parts_of(input_ids: Tensor, segment_ids: Tensor, media_token_id: int) -> tuple[Part, ...]:
    """The samples (and stretches of pads) of rows (R, S), each with its media; every token is in one.

    Example:
        >>> parts = parts_of(torch.tensor([[9, 5, 5, 9, 9]]), torch.tensor([[1, 1, 2, 3, 3]]), media_token_id=9)
        >>> [tuple(part) for part in parts]
        [(0, 0, 2, 0, 1), (0, 2, 3, 1, 1), (0, 3, 5, 1, 3)]
    """
    _, first, last = _marks_of_segments(input_ids, segment_ids, media_token_id)
    return tuple(
        Part(row, start, end, int(first[row, start]), int(last[row, start])) for row, start, end in runs(segment_ids)
    )
