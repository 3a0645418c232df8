"""Rows of filled caches: put together, so that texts of different lengths are decoded as one batch, and taken out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from mmgpt.models.cross_attention import span_mask
from mmgpt.structures import Media


def is_joinable(cache: Cache) -> bool:
    """Whether rows of such a cache can be put together: keys and values that grow, with a window or without."""
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def shared(cache: DynamicCache) -> DynamicCache:
    """A cache with the same tensors. Either may go on: a cache that grows makes new tensors."""
    made = _empty(cache)
    for new, layer in zip(made.layers, cache.layers, strict=True):
        _fill(new, layer, layer.keys, layer.values, layer.get_seq_length())
    made.media = getattr(cache, 'media', None)
    return made


def join_rows(caches: Sequence[DynamicCache]) -> DynamicCache:
    """One cache of all rows, padded on the left to the longest text.

    Args:
        caches: of one model, with the media that travel on them (``mmgpt.models.media_cache``); at least one. A row's
            last token is the last column of its cache.

    Returns:
        A new cache. Its text needs an attention mask that hides the pads.

    Raises:
        ValueError: the media of two caches have different numbers of latents.

    Example::

        batch = join_rows([cache_of_three_rows, cache_of_one_row])
    """
    length = max(cache.get_seq_length() for cache in caches)
    made = _empty(caches[0])
    for new, *layers in zip(made.layers, *(cache.layers for cache in caches), strict=True):
        width = max(layer.keys.shape[2] for layer in layers)
        keys, values = (
            torch.cat([_padded(getattr(layer, name), width) for layer in layers]) for name in ('keys', 'values')
        )
        _fill(new, layers[0], keys, values, length)
    rows = [cache.layers[0].keys.shape[0] for cache in caches]
    made.media = _join_media([getattr(cache, 'media', None) for cache in caches], rows)
    return made


def take_rows(cache: DynamicCache, rows: Tensor, pads: int = 0) -> DynamicCache:
    """A new cache of some rows, in their order, without columns that are pads for all of them.

    Args:
        cache: as ``join_rows`` gives it.
        rows: (r,) int64; a row may occur several times.
        pads: how many of the first columns to leave out.
    """
    length = cache.get_seq_length() - pads
    made = _empty(cache)
    for new, layer in zip(made.layers, cache.layers, strict=True):
        start = max(0, layer.keys.shape[2] - length)
        keys, values = (x[:, :, start:].index_select(0, rows) for x in (layer.keys, layer.values))
        _fill(new, layer, keys, values, length)
    made.media = _take_media(getattr(cache, 'media', None), rows)
    return made


def num_bytes(cache: DynamicCache) -> int:
    """The memory of a cache and of the media that travel on it."""
    tensors = [x for layer in cache.layers for x in (layer.keys, layer.values)]
    media = getattr(cache, 'media', None)
    if media is not None and media.keys_values is not None:
        tensors += [x for pair in media.keys_values.values() for x in pair]
    return sum(x.numel() * x.element_size() for x in tensors)


def _empty(like: DynamicCache) -> DynamicCache:
    made = DynamicCache()
    made.layers = [
        DynamicSlidingWindowLayer(layer.sliding_window)
        if isinstance(layer, DynamicSlidingWindowLayer)
        else DynamicLayer()
        for layer in like.layers
    ]
    return made


def _fill(layer: DynamicLayer, like: DynamicLayer, keys: Tensor, values: Tensor, length: int) -> None:
    layer.lazy_initialization(like.keys, like.values)
    layer.keys, layer.values = keys, values
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = length


def _padded(x: Tensor, width: int) -> Tensor:
    """(R, heads, S, D) -> (R, heads, width, D), zeros on the left."""
    return x if x.shape[2] == width else F.pad(x, (0, 0, width - x.shape[2], 0))


def _join_media(parts: Sequence[Media | None], rows: Sequence[int]) -> Media | None:
    """The media of all rows. Rows of None skip the gated blocks; what a row sees comes last, as ``kept`` leaves it."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    device = found[0].span.device
    sizes = {part.size for part in found if part.keys_values is not None}
    if len(sizes) > 1:
        raise ValueError(f'media of {sorted(sizes)} latents cannot stand in one batch')
    size = sizes.pop() if sizes else found[0].size
    counts = [_count(part) for part in parts]
    most = max(counts)
    span = torch.cat(
        [
            torch.full((n, 1, 2), most, device=device) if part is None else part.span + (most - count)
            for part, n, count in zip(parts, rows, counts, strict=True)
        ]
    )
    gated = torch.cat([_gated(part, n, device) for part, n in zip(parts, rows, strict=True)])
    marks = torch.cat(
        [
            torch.zeros(n, dtype=torch.long, device=device) if part is None else part.marks
            for part, n in zip(parts, rows, strict=True)
        ]
    )
    made = Media(None, span, None if bool(gated.all()) else gated, size=size, marks=marks)
    if most == 0:
        return made
    like = next(part.keys_values for part in found if part.keys_values is not None)
    keys_values = {
        layer: tuple(
            torch.cat([_media_columns(part, n, layer, i, pair[i], most * size) for part, n in zip(parts, rows)])
            for i in range(2)
        )
        for layer, pair in like.items()
    }
    return _masked(made._replace(keys_values=keys_values), most)


def _take_media(media: Media | None, rows: Tensor) -> Media | None:
    if media is None:
        return None
    gated = None if media.gated is None else media.gated[rows]
    if gated is not None and not bool(gated.any()):
        return None
    gated = None if gated is None or bool(gated.all()) else gated
    made = Media(None, media.span[rows], gated, size=media.size, marks=media.marks[rows])
    count = _count(media)
    width = int((made.span[..., 1] - made.span[..., 0]).max())
    if width == 0:
        return made._replace(span=torch.zeros_like(made.span))
    first = count - width
    taken = {
        layer: tuple(x.index_select(0, rows)[:, :, first * media.size :] for x in pair)
        for layer, pair in media.keys_values.items()
    }
    return _masked(made._replace(keys_values=taken, span=made.span - first), width)


def _count(media: Media | None) -> int:
    """How many media the keys and values are of."""
    if media is None or media.keys_values is None:
        return 0
    return next(iter(media.keys_values.values()))[0].shape[2] // media.size


def _gated(media: Media | None, rows: int, device: torch.device) -> Tensor:
    if media is None:
        return torch.zeros(rows, 1, dtype=torch.bool, device=device)
    return torch.ones(rows, 1, dtype=torch.bool, device=device) if media.gated is None else media.gated


def _media_columns(media: Media | None, rows: int, layer: int, which: int, like: Tensor, width: int) -> Tensor:
    if media is None or media.keys_values is None:
        return like.new_zeros(rows, like.shape[1], width, like.shape[3])
    return _padded(media.keys_values[layer][which], width)


def _masked(media: Media, count: int) -> Media:
    """With the mask that hides the media that a row does not see, where there are any."""
    whole = bool((media.span[..., 1] - media.span[..., 0] == count).all())
    return media._replace(mask=None if whole else span_mask(media.span, count, media.size))
