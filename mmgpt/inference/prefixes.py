"""What a model has computed once and need not compute again: encoded media, and the beginnings of texts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from mmgpt.models.cache_rows import is_joinable, num_bytes, shared
from mmgpt.models.media import Frames
from mmgpt.models.media_cache import stays_valid

FRAMES_AT_ONCE = 64  # that the vision encoder gets in one call


class Prompt(NamedTuple):
    """A text with its media, as the processor makes it, of one row without pads."""

    ids: Tensor  # (S,)
    media: tuple[Tensor, ...]  # of each medium its frames (F, 3, H, W)
    digests: tuple[bytes, ...]  # by which the media are known

    @classmethod
    def of(cls, input_ids: Tensor, pixel_values: Tensor | None = None, frame_mask: Tensor | None = None) -> Prompt:
        """Out of the model's inputs: (1, S), (1, M, F, 3, H, W), (1, M, F); no mask: all frames exist."""
        if pixel_values is None:
            return cls(input_ids[0], (), ())
        if frame_mask is None:
            frame_mask = torch.ones(pixel_values.shape[:3], dtype=torch.bool)
        pairs = zip(pixel_values[0], frame_mask[0].to(pixel_values.device).bool(), strict=True)
        media = tuple(frames[mask] for frames, mask in pairs)
        media = tuple(frames for frames in media if len(frames))
        return cls(input_ids[0], media, tuple(map(_digest, media)))


class EncodedMedia:
    """The latents of media, each encoded once; the least recently used are forgotten.

    The weights of the model must not change meanwhile.

    Args:
        model: a ``Flamingo``.
        max_bytes: of latents that are kept.
    """

    def __init__(self, model: Any, max_bytes: int = 256 * 2**20) -> None:
        self.model = model
        self.max_bytes = max_bytes
        self._latents: OrderedDict[tuple, Tensor] = OrderedDict()  # (L, D)

    def clear(self) -> None:
        """Forgets all."""
        self._latents.clear()

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Prompt], adapters: Sequence[str] = ()) -> list[Tensor | None]:
        """Latents (1, M, L, D) of the media of each prompt; None where it has none.

        Args:
            prompts: what is new of them is encoded together.
            adapters: those that the model computes with.
        """
        wanted = [[(*adapters, digest, i) for i, digest in enumerate(prompt.digests)] for prompt in prompts]
        new: dict[int, dict[tuple, Tensor]] = {}  # by number of frames, since padding would be computed too
        for prompt, keys in zip(prompts, wanted, strict=True):
            for key, frames in zip(keys, prompt.media, strict=True):
                if key not in self._latents:
                    new.setdefault(len(frames), {})[key] = frames
        for size, group in new.items():
            keys, step = list(group), max(1, FRAMES_AT_ONCE // size)
            for start in range(0, len(keys), step):
                self._encode({key: group[key] for key in keys[start : start + step]})
        made = [torch.stack([self._latents[key] for key in keys]).unsqueeze(0) if keys else None for keys in wanted]
        for keys in wanted:
            for key in keys:
                self._latents.move_to_end(key)
        while self._latents and self._size() > self.max_bytes:
            self._latents.popitem(last=False)
        return made

    def _encode(self, group: dict[tuple, Tensor]) -> None:
        """Media (F, 3, H, W), all of as many frames."""
        device = self.model.device
        pixels = torch.cat(list(group.values())).to(device)
        places = torch.arange(len(pixels), device=device).view(1, len(group), -1)
        index = torch.tensor([key[-1] for key in group], device=device)
        latents = self.model.encode_media(Frames(pixels, None, places), index)[0]
        self._latents |= zip(group, latents.unbind(), strict=True)

    def _size(self) -> int:
        return sum(latents.numel() * latents.element_size() for latents in self._latents.values())


class Prefix(NamedTuple):
    """A text that a model has gone through, with what it computed. It is not changed by going on from it."""

    cache: DynamicCache  # of one row without pads
    ids: Tensor  # (S,) the tokens that the cache holds
    digests: tuple[bytes, ...]  # of its media
    adapters: tuple[str, ...]  # those that the model computed with


def shared_length(config: Any, prefix: Prefix, prompt: Prompt, adapters: Sequence[str]) -> int:
    """How many tokens of a prompt need not be computed after ``prefix``; at least one always is.

    They are the longest common beginning of the two texts, as far as its media are the same too, or 0 where what was
    computed cannot be used.
    """
    if prefix.adapters != tuple(adapters):
        return 0
    begun = min(_common(prefix.ids, prompt.ids), len(prompt.ids) - 1)
    marks = (prompt.ids == config.media_token_id).nonzero().flatten().tolist()
    known = 0
    for one, other in zip(prefix.digests, prompt.digests):
        if one != other:
            break
        known += 1
    if known < len(marks):
        begun = min(begun, marks[known])  # what follows looked at another medium
    seen = sum(mark < begun for mark in marks)
    whole = begun == len(prefix.ids)
    can_crop = all(type(layer) is DynamicLayer for layer in prefix.cache.layers)
    if not (whole or can_crop) or not stays_valid(config, len(prefix.digests), seen, len(prompt.digests)):
        return 0
    return begun


def active_adapters(model: Any) -> tuple[str, ...]:
    """The names of the adapters that a model computes with."""
    return tuple(model.active_adapters()) if getattr(model, 'peft_config', None) else ()


def unseen(model: Any, prompt: Prompt, length: int, latents: Tensor | None) -> Tensor | None:
    """Of the latents of a prompt's media those behind its first ``length`` tokens; None where there are none."""
    seen = _media_within(model, prompt, length)
    return None if latents is None or seen == latents.shape[1] else latents[:, seen:]


def _media_within(model: Any, prompt: Prompt, length: int) -> int:
    return int((prompt.ids[:length] == model.config.media_token_id).sum())


def begun_cache(model: Any, prefix: Prefix, prompt: Prompt, length: int, latents: Tensor | None) -> DynamicCache:
    """A cache of the first ``length`` tokens of a prompt, out of a prefix that shares them.

    Args:
        model: a ``Flamingo``.
        prefix: as ``shared_length`` found it.
        prompt: the whole text.
        length: more than 0.
        latents: (1, M, L, D) of all media of the prompt.
    """
    cache = shared(prefix.cache)
    if length < len(prefix.ids):
        cache.crop(length - len(prefix.ids))
    seen = _media_within(model, prompt, length)
    if seen < len(prefix.digests):
        ids = prompt.ids[None, :length].to(model.device)
        cache.media = model.media_after(ids, latents[:, :seen] if seen else None)
    return cache


class Prefixes:
    """Texts that may go on: of all that were kept, the one that shares most with a prompt is found.

    Args:
        config: of the model.
        max_bytes: of all caches; the least recently used are forgotten. 0 keeps none.
        max_count: of texts.
    """

    def __init__(self, config: Any, max_bytes: int = 2**30, max_count: int = 64) -> None:
        self.config = config
        self.max_bytes = max_bytes
        self.max_count = max_count
        self._kept: list[tuple[int, Prefix]] = []  # with their bytes, the last used at the end

    def find(self, prompt: Prompt, adapters: Sequence[str]) -> tuple[Prefix | None, int]:
        """The prefix that shares the most tokens with a prompt, and how many these are."""
        best, length, place = None, 0, -1
        for i, (_, prefix) in enumerate(self._kept):
            found = shared_length(self.config, prefix, prompt, adapters)
            if found > length:
                best, length, place = prefix, found, i
        if best is not None:
            self._kept.append(self._kept.pop(place))
        return best, length

    def keep(self, prefix: Prefix) -> None:
        """Keeps a text; one that is its beginning is forgotten, since it says no more."""
        size = num_bytes(prefix.cache)
        if size > self.max_bytes or not is_joinable(prefix.cache):
            return
        self._kept = [(n, kept) for n, kept in self._kept if not self._covers(prefix, kept)]
        self._kept.append((size, prefix))
        while len(self._kept) > self.max_count or sum(n for n, _ in self._kept) > self.max_bytes:
            self._kept.pop(0)

    def clear(self) -> None:
        """Forgets all."""
        self._kept.clear()

    @property
    def bytes(self) -> int:
        """Memory of all caches."""
        return sum(n for n, _ in self._kept)

    def _covers(self, new: Prefix, old: Prefix) -> bool:
        return (
            new.adapters == old.adapters
            and new.digests[: len(old.digests)] == old.digests
            and len(old.ids) <= len(new.ids)
            and torch.equal(new.ids[: len(old.ids)], old.ids)
        )


def _common(one: Tensor, other: Tensor) -> int:
    """How many ids two texts begin with alike."""
    size = min(len(one), len(other))
    differ = (one[:size] != other[:size]).nonzero()
    return int(differ[0]) if len(differ) else size


def _digest(frames: Tensor) -> bytes:
    """A digest of frames (F, 3, H, W)."""
    return sha256(frames.cpu().contiguous().view(torch.uint8).numpy().tobytes()).digest()
