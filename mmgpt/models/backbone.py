"""The composed model below its output head."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from mmgpt.models.cache_name import one_cache
from mmgpt.structures import Media


class Backbone:
    """A model without its output head, called as the model is; its outputs have ``last_hidden_state`` (R, S, D)."""

    _tp_plan = _pp_plan = None

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        media: Tensor | Media | None = None,
        segment_ids: Tensor | None = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> Any:
        """As ``Flamingo.forward``, without logits and loss."""
        text = dict(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)
        cache = one_cache(cache, past_key_values)
        text |= dict(cache=cache, inputs_embeds=inputs_embeds, segment_ids=segment_ids)
        media, inputs, _ = self.model._prepared(**text, pixels=(pixel_values, frame_mask), media=media)
        decoder = self.model.decoder
        with decoder.carrying(media) as keywords:
            return decoder.lm.base_model(**inputs, **keywords, return_dict=True, **kwargs)
