"""What the tokens of one call may look at, as one ``Media`` value."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgpt.models.config import FlamingoConfig
from mmgpt.models.cross_attention import span_mask
from mmgpt.models.media_span import has_media, last_tokens, media_span, span_after
from mmgpt.structures import Media


def look(
    config: FlamingoConfig,
    input_ids: Tensor,
    segment_ids: Tensor | None,
    latents: Tensor | None,
    attend_next: Tensor | None = None,
) -> Media | None:
    """The media of a call that starts a text.

    Args:
        config: of the model; says which media a token may see, and what happens to samples without media.
        input_ids: (R, S).
        segment_ids: (R, S) or None: one sample per row, no pads.
        latents: (R, M, L, D), or None where no row has media.
        attend_next: (R, K), the samples that are trained otherwise than the model's ``attend``, see ``media_span``.

    Returns:
        None where the gated blocks are not to be run at all.
    """
    skip = config.without_media == 'skip'
    everything = torch.ones_like(input_ids, dtype=torch.bool)
    if latents is None:
        span = torch.zeros(*input_ids.shape, 2, dtype=torch.long, device=input_ids.device)
        return None if skip else Media(None, span, everything)
    span = media_span(input_ids, segment_ids, config.media_token_id, config.attend, attend_next)
    gated = has_media(input_ids, segment_ids, config.media_token_id) if skip else everything
    return Media(latents, span, gated, mask=span_mask(span, latents.shape[1], latents.shape[2]))


def project(media: Media, blocks: nn.ModuleDict) -> Media:
    """The same media with the keys and values of all gated blocks, made once, instead of the latents."""
    made = {int(name): block.project_media(media.latents) for name, block in blocks.items()}
    return media._replace(latents=None, keys_values=made, mask=_mask(media))


def look_on(config: FlamingoConfig, media: Media | None, segment_ids: Tensor | None) -> Media | None:
    """The media of the tokens that are decoded after a prompt: all of them see the same.

    Args:
        config: of the model.
        media: of the prompt.
        segment_ids: (R, S) of the prompt, or None.

    Returns:
        ``Media`` with one token per row, which stands for any number of them; or None.
    """
    if media is None:
        return None
    span, mask = span_after(media.span, segment_ids, config.attend), _mask(media)
    if mask is not None:
        last = last_tokens(media.span, segment_ids)[:, None, None, None]
        mask = mask.gather(2, last.expand(-1, 1, 1, mask.shape[3]))
    return media._replace(span=span, gated=media.gated.any(1, keepdim=True), mask=mask)


def _mask(media: Media) -> Tensor | None:
    """The mask of ``media``, made where it is not yet; None where there is nothing to look at."""
    if media.mask is None and media.latents is not None:
        return span_mask(media.span, *media.latents.shape[1:3])
    return media.mask


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
