"""What a model has computed of a dialogue, kept for the next turn."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from mmgpt.models.media_cache import stays_valid


class _State(NamedTuple):
    """A dialogue that the model has gone through."""

    cache: DynamicCache
    ids: Tensor  # (S,) the tokens that the cache holds
    digests: list[bytes]  # of its media
    latents: Tensor | None  # (1, M, L, D)
    adapters: list[str]  # those that the model computed with


class DialogueCache:
    """Generates answers of one dialogue; what the next text shares with the last one is not computed again.

    Shared are the longest common beginning of the two texts, as far as its media are the same too, and the encoded
    media of the common beginning of the two lists of media. The answers are those of plain ``generate``. The weights
    of the model must not change meanwhile.

    Args:
        model: a ``Flamingo``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.reused = 0  # tokens of the last text that were not computed again
        self._state: _State | None = None

    def clear(self) -> None:
        """Forgets the dialogue and frees its memory."""
        self._state = None

    @torch.inference_mode()
    def generate(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        num_beams: int = 1,
        **arguments: Any,
    ) -> Tensor:
        """As ``Flamingo.generate``, of one row without pads; beams reuse the encoded media only.

        Args:
            input_ids: (1, S), the whole dialogue.
            pixel_values: (1, M, F, 3, H, W), all its media.
            frame_mask: (1, M, F).
            num_beams: as Hugging Face's ``generate`` takes it, as ``arguments``.
        """
        ids = input_ids[0]
        if pixel_values is not None and frame_mask is None:
            frame_mask = torch.ones(pixel_values.shape[:3], dtype=torch.bool)
        digests = [] if pixel_values is None else _digests(pixel_values[0], frame_mask[0])
        # taken away first: a generation that fails leaves a cache that nobody may use
        state, self._state = self._state, None
        adapters = self.model.active_adapters() if getattr(self.model, 'peft_config', None) else []
        if state is not None and state.adapters != adapters:
            state = None
        latents = self._latents(state, input_ids, digests, pixel_values, frame_mask)
        cache, begun = (None, 0) if num_beams > 1 else self._begun(state, ids, digests)
        self.reused = begun
        seen = int((ids[:begun] == self.model.config.media_token_id).sum())
        new = None if latents is None or seen == len(digests) else latents[:, seen:]
        arguments = (
            dict(use_cache=True) | arguments | dict(num_beams=num_beams, attention_mask=torch.ones_like(input_ids))
        )
        out = self.model.generate(input_ids, media=new, past_key_values=cache, **arguments)
        if cache is not None:
            self._state = _State(cache, out[0, : cache.get_seq_length()], digests, latents, adapters)
        return out

    def _latents(
        self, state: _State | None, ids: Tensor, digests: list[bytes], pixels: Tensor | None, frame_mask: Tensor | None
    ) -> Tensor | None:
        """The latents of all media; those that the last dialogue began with are taken from it."""
        if pixels is None:
            return None
        known = 0 if state is None else _common(state.digests, digests)
        if known == len(digests):
            return state.latents[:, :known]
        marks = (ids[0] == self.model.config.media_token_id).nonzero().flatten()
        rest = ids[:, int(marks[known]) :] if known < len(marks) else ids
        before = torch.tensor([known], device=ids.device)
        made = self.model.encode_pixels(rest, pixels[:, known:], frame_mask[:, known:], before)
        return made if known == 0 else torch.cat((state.latents[:, :known], made), 1)

    def _begun(self, state: _State | None, ids: Tensor, digests: list[bytes]) -> tuple[DynamicCache, int]:
        """A cache that holds the beginning of ``ids``, and how many tokens that is."""
        fresh = DynamicCache(config=self.model.config.text_config), 0
        if state is None:
            return fresh
        config = self.model.config
        begun = min(_common(state.ids.tolist(), ids.tolist()), len(ids) - 1)
        marks = (ids == config.media_token_id).nonzero().flatten().tolist()
        known = _common(state.digests, digests)
        if known < len(marks):
            begun = min(begun, marks[known])  # what follows looked at another medium
        shared = sum(mark < begun for mark in marks)
        surplus = len(state.ids) - begun
        can_crop = all(type(layer) is DynamicLayer for layer in state.cache.layers)
        if (
            begun == 0
            or (surplus and not can_crop)
            or not stays_valid(config, len(state.digests), shared, len(digests))
        ):
            return fresh
        if surplus:
            state.cache.crop(-surplus)
        if shared < len(state.digests):
            latents = None if shared == 0 else state.latents[:, :shared]
            state.cache.media = self.model.media_after(ids[None, :begun], latents)
        return state.cache, begun


def _common(one: list, other: list) -> int:
    """How many items two lists begin with alike."""
    for place, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return place
    return min(len(one), len(other))


def _digests(pixels: Tensor, frame_mask: Tensor) -> list[bytes]:
    """One digest of the frames of each medium: pixels (M, F, 3, H, W), frame_mask (M, F)."""
    media = [medium[mask.bool()].cpu() for medium, mask in zip(pixels, frame_mask.to(pixels.device), strict=True)]
    return [sha256(medium.contiguous().view(torch.uint8).numpy().tobytes()).digest() for medium in media]
