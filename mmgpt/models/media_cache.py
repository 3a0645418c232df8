"""What a filled cache goes on looking at: the media that travel on it between the calls of one text."""

from __future__ import annotations

import torch
from torch import Tensor

from mmgpt.models.config import FlamingoConfig
from mmgpt.models.cross_attention import span_mask
from mmgpt.models.media_span import last_tokens, media_span, span_after
from mmgpt.structures import Media


def kept(config: FlamingoConfig, media: Media | None, input_ids: Tensor, segment_ids: Tensor | None) -> Media | None:
    """The media of text tokens that follow a call: all of them see the same, and the rest is dropped.

    Args:
        config: of the model.
        media: of the call, projected or not.
        input_ids: (R, S) of the call.
        segment_ids: (R, S) of the call, 0 = pad, or None.

    Returns:
        ``Media`` with one token per row, which stands for any number of them. The media that a row sees are the last
        of those kept; where every row sees all of them there is no mask. None where the gated blocks are not run.
    """
    if media is None:
        return None
    last = last_tokens(media.span, segment_ids)
    span = span_after(media.span, segment_ids, config.attend)
    marks = (input_ids == config.media_token_id) & _last_segment(input_ids, segment_ids, last)
    marks = marks.sum(1) if media.marks is None else marks.sum(1) + media.marks
    width = span[..., 1] - span[..., 0]  # (R, 1)
    count = int(width.max())
    gated = None if media.gated is None else media.gated.gather(1, last.unsqueeze(1))
    made = Media(
        latents=None,
        span=torch.stack((count - width, torch.full_like(width, count)), -1),
        gated=None if gated is None or bool(gated.all()) else gated,
        size=media.size if media.latents is None else media.latents.shape[2],
        marks=marks,
    )
    if count == 0:
        return made
    places = (span[..., 1] - count + torch.arange(count, device=span.device)).clamp(min=0)  # (R, count)
    if media.latents is not None:
        made = made._replace(
            latents=torch.take_along_dim(media.latents, places[..., None, None].to(media.latents.device), 1)
        )
    else:
        places = (places.unsqueeze(-1) * made.size + torch.arange(made.size, device=span.device)).flatten(1)
        index = places[:, None, :, None]
        layers = media.keys_values.items()
        taken = {layer: tuple(torch.take_along_dim(x, index, 2) for x in pair) for layer, pair in layers}
        made = made._replace(keys_values=taken)
    everything = bool((width == count).all())
    return made if everything else made._replace(mask=span_mask(made.span, count, made.size))


def continued(
    config: FlamingoConfig, seen: Media | None, input_ids: Tensor, real: Tensor | None, latents: Tensor
) -> Media:
    """The media of a call that continues a filled cache with text and new media.

    Args:
        config: of the model.
        seen: what was ``kept`` of the earlier calls.
        input_ids: (R, S) of this call.
        real: (R, S), 0 = pad, or None: no pads.
        latents: (R, M, L, D), the new media.

    Returns:
        ``Media`` of the earlier and the new ones; ``latents`` are those that are not projected yet.

    Raises:
        ValueError: what is in the cache would have been computed otherwise, had the new media been known.
    """
    marks = (input_ids == config.media_token_id).sum(1)
    if config.attend.endswith('next'):
        raise ValueError(
            f'attend={config.attend!r} lets text look at the medium that follows it, and the text of this cache was '
            'computed without: pass the whole prompt again'
        )
    if config.without_media == 'skip':
        without = torch.ones_like(marks) if seen is None else (seen.marks == 0).long()
        wrong = (without * marks).nonzero().flatten().tolist()
        if wrong:
            raise ValueError(
                f'row {wrong[0]} had no media when its cache was filled and skipped the gated blocks '
                "(without_media='skip'); with new media it would not have: pass the whole prompt again"
            )
    new = media_span(input_ids, real, config.media_token_id, config.attend)
    earlier = seen.span  # (R, 1, 2)
    before = int(earlier[..., 1].max())
    fresh = new[..., 1] > new[..., 0]
    hi = torch.where(fresh, new[..., 1] + before, earlier[..., 1])
    lo = torch.where(fresh & (config.attend == 'previous'), new[..., 0] + before, earlier[..., 0])
    span = torch.stack((lo, hi), -1)
    if real is not None:
        span = span.masked_fill((real == 0).unsqueeze(-1), 0)
    mask = span_mask(span, before + latents.shape[1], latents.shape[2])
    if seen.latents is not None:
        latents = torch.cat((seen.latents, latents), 1)
    gated = None if seen.gated is None else seen.gated.expand_as(input_ids)
    return Media(latents, span, gated, seen.keys_values, mask, marks=seen.marks)


def stays_valid(config: FlamingoConfig, before: int, shared: int, after: int) -> bool:
    """Whether the beginning of a text may be taken for the beginning of another one, which differs behind it.

    Args:
        config: of the model.
        before: media of the text whose beginning was computed.
        shared: media of the beginning.
        after: media of the other text.
    """
    if config.attend.endswith('next') and not before == shared == after:
        return False  # the end of the beginning looks at the medium that comes next
    if config.without_media != 'skip':
        return True
    return (before > 0) == (after > 0) == (shared > 0)  # whether the gated blocks are skipped is the whole text's


def _last_segment(input_ids: Tensor, segment_ids: Tensor | None, last: Tensor) -> Tensor:
    """(R, S) bool: the token belongs to the last sample of its row."""
    if segment_ids is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    return segment_ids == segment_ids.gather(1, last.unsqueeze(1))
