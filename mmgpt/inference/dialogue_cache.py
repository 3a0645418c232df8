"""What a model has computed of a dialogue, kept for the next turn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mmgpt.inference.prefixes import EncodedMedia, Prefix, Prompt, active_adapters, begun_cache, shared_length, unseen
from mmgpt.models.cache_rows import is_joinable


class DialogueCache:
    """Generates answers of one dialogue; what the next text shares with the last one is not computed again.

    Shared are the longest common beginning of the two texts, as far as its media are the same too, and the encoded
    media; of a cache that holds more than keys and values, the media alone. The answers are those of plain
    ``generate``. The weights of the model must not change meanwhile.

    Args:
        model: a ``Flamingo``.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.reused = 0  # tokens of the last text that were not computed again
        self._encoded = EncodedMedia(model)
        self._last: Prefix | None = None

    def clear(self) -> None:
        """Forgets the dialogue and frees its memory."""
        self._last = None
        self._encoded.clear()

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
        model, prompt = self.model, Prompt.of(input_ids, pixel_values, frame_mask)
        # taken away first: a generation that fails leaves a cache that nobody may use
        last, self._last = self._last, None
        adapters = active_adapters(model)
        (latents,) = self._encoded.encode([prompt], adapters)
        cache, begun = None, 0
        if num_beams == 1:
            begun = 0 if last is None else shared_length(model.config, last, prompt, adapters)
            cache = DynamicCache(config=model.config.text_config)
            if begun:
                cache = begun_cache(model, last, prompt, begun, latents)
        self.reused = begun
        new = unseen(model, prompt, begun, latents)
        arguments = (
            dict(use_cache=True) | arguments | dict(num_beams=num_beams, attention_mask=torch.ones_like(input_ids))
        )
        out = model.generate(input_ids, media=new, past_key_values=cache, **arguments)
        if cache is not None and is_joinable(cache):
            self._last = Prefix(cache, out[0, : cache.get_seq_length()], prompt.digests, adapters)
        return out
