"""What the tokens of one call may look at, as one ``Media`` value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmgpt.models.config import FlamingoConfig
from mmgpt.models.cross_attention import span_mask
from mmgpt.models.media_span import has_media, media_span, parts_of
from mmgpt.models.pieces import gather, plan_pieces
from mmgpt.structures import Grid, Media, Part


class Frames(NamedTuple):
    """The media of a batch before they are encoded: each distinct frame once, and who uses it."""

    pixels: Tensor | None  # (N, 3, H, W) uint8, or float and normalised
    features: Tensor | None  # (C, P, D) of frames that are not among the pixels
    places: Tensor  # (R, M, F) int64 into C + N, those with features first; -1 = none


def look(
    config: FlamingoConfig,
    input_ids: Tensor,
    segment_ids: Tensor | None,
    latents: Tensor | None,
    attend_next: Tensor | None = None,
    whole_rows: bool = True,
) -> Media | None:
    """The media of a call that starts a text.

    Args:
        config: of the model; says which media a token may see, and what happens to samples without media.
        input_ids: (R, S).
        segment_ids: (R, S) or None: one sample per row, no pads.
        latents: (R, M, L, D), or None where no row has media.
        attend_next: (R, K), the samples that are trained otherwise than the model's ``attend``, see ``media_span``.
        whole_rows: False lets each sample of a packed row look at its own media by itself, where that is faster.

    Returns:
        None where the gated blocks are not to be run at all.
    """
    skip = config.without_media == 'skip'
    if latents is None:
        span = torch.zeros(*input_ids.shape, 2, dtype=torch.long, device=input_ids.device)
        return None if skip else Media(None, span, None)
    span = media_span(input_ids, segment_ids, config.media_token_id, config.attend, attend_next)
    looking = has_media(input_ids, segment_ids, config.media_token_id)
    one_by_one = not whole_rows and span.device.type == 'cpu' and segment_ids is not None
    packed = one_by_one and bool((segment_ids > 1).any())
    pieces = mask = None
    if packed:  # a mask would grow with the square of the row
        parts = parts_of(input_ids, segment_ids, config.media_token_id)
        pieces = pieces_of(parts, span, latents.shape[1], latents.shape[2])
    else:
        mask = span_mask(span, latents.shape[1], latents.shape[2])
    blind = not packed or bool((looking & (span[..., 0] == span[..., 1])).any())
    gated = None if not skip or (packed and bool(looking.all())) else looking
    return Media(latents, span, gated, mask=mask, pieces=pieces, blind=blind)


def pieces_of(parts: Sequence[Part], span: Tensor, media: int, latents: int) -> tuple[Grid, ...]:
    """How the samples of packed rows look at their own media; those that have none are left out.

    Args:
        parts: the samples.
        span: (R, S, 2), of their tokens.
        media: of a row, padding included.
        latents: of a medium.
    """
    length, parts = span.shape[1], [part for part in parts if part.lo < part.hi]
    tokens = [(part.row * length + part.start, part.row * length + part.end) for part in parts]
    seen = [((part.row * media + part.lo) * latents, (part.row * media + part.hi) * latents) for part in parts]
    plan = plan_pieces(tokens, seen)
    own = span.flatten(0, 1).clone()
    for (start, end), part in zip(tokens, parts, strict=True):
        own[start:end] -= part.lo
    made = []
    for grid in plan:
        mask = None  # of one medium, all or nothing is seen
        if grid.keys > latents:
            mask = span_mask(gather(own, grid.asking, grid.pieces, grid.queries), grid.keys // latents, latents)
        made.append(grid._replace(mask=mask))
    return tuple(made)


def project(media: Media, blocks: nn.ModuleDict) -> Media:
    """The same media with the keys and values of all gated blocks, made once, instead of the latents.

    Those that ``media`` has already are of earlier media and come first.
    """
    size, mask = media.latents.shape[2], media.mask
    if mask is None:
        mask = span_mask(media.span, media.latents.shape[1], size)
    made = {int(name): block.project_media(media.latents) for name, block in blocks.items()}
    if media.keys_values is not None:
        pairs = {layer: zip(pair, made[layer], strict=True) for layer, pair in media.keys_values.items()}
        made = {layer: tuple(torch.cat(both, 2) for both in pair) for layer, pair in pairs.items()}
    return media._replace(latents=None, keys_values=made, mask=mask, size=size)


def check_marks(input_ids: Tensor, exists: Tensor | None, media_token_id: int) -> None:
    """Checks that each row has as many media as marks, and those that exist first.

    Args:
        input_ids: (R, S).
        exists: (R, M) bool, or None: there are no media at all.
        media_token_id: the id of the ``<image>`` mark.

    Raises:
        ValueError: a row is at fault; the message says which and both numbers.
    """
    marks = (input_ids == media_token_id).sum(1)
    if exists is None:
        if bool(marks.any()):
            raise ValueError(
                f'row {int(marks.argmax())} has {int(marks.max())} <image> marks and no media: '
                'pass pixel_values, or remove the marks'
            )
        return
    wrong = (marks != exists.sum(1)).nonzero().flatten().tolist()
    if not wrong:
        if bool((exists[:, 1:] > exists[:, :-1]).any()):
            raise ValueError('the media of a row must come before its padding; found a gap between two media')
        return
    raise ValueError(
        f'row {wrong[0]} has {int(marks[wrong[0]])} <image> marks and {int(exists[wrong[0]].sum())} media: '
        'there must be one medium per mark'
    )


def marked_media(input_ids: Tensor, count: int, media_token_id: int) -> Tensor:
    """(R, M) bool: the media that exist where nothing but M, their greatest number in a row, is known.

    Where no row has M marks, all are said to exist, so that ``check_marks`` names the row at fault.
    """
    marks = (input_ids == media_token_id).sum(1)
    if int(marks.max()) != count:
        marks = torch.full_like(marks, count)
    return torch.arange(count, device=input_ids.device) < marks[:, None]
