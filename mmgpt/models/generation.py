"""The composed model as Hugging Face knows it: ``forward`` with a cache, and ``generate``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from mmgpt.models.backbone import Backbone
from mmgpt.models.cache_name import CACHE, one_cache
from mmgpt.models.loss import supervised
from mmgpt.models.matmul import products_of
from mmgpt.models.media import Frames, check_marks, look, marked_media, project
from mmgpt.models.media_cache import continued, kept
from mmgpt.structures import Media


class Generating(PreTrainedModel, GenerationMixin):
    """Hugging Face's side of a model that has ``encode_media``, a ``decoder`` and ``gated_blocks``."""

    def forward(
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
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple:
        """The forward of Hugging Face's vision-language models.

        Args:
            input_ids: (R, S); also needed beside ``inputs_embeds``, to know where the marks are.
            attention_mask: (R, S) or with a cache (R, past + S), 0 = pad.
            position_ids: (R, S).
            past_key_values: a cache; the media of the calls that filled it travel on it. It may be continued with
                text and new media: ``input_ids`` and media are then those after what it holds.
            inputs_embeds: (R, S, D) instead of the embedded ``input_ids``.
            pixel_values: (R, M, F, 3, H, W), the media of each row in the order of its marks, padded at the end;
                uint8, or float and normalised.
            frame_mask: (R, M, F) bool, False = no frame here. Default: media beyond a row's marks are padding, all
                frames of the others exist.
            media: latents (R, M, L, D) from an earlier ``encode_pixels`` instead of ``pixel_values``; or a ``Media``
                value, taken as it is.
            segment_ids: (R, S), 0 = pad, 1..k = the samples of a packed row.
            labels: (R, S) unshifted; gives ``outputs.loss``, the mean over them. A pad predicts nothing.
            use_cache: whether to return a cache. Default: what the language model does.
            logits_to_keep: how many of the last logits to make (0 = all), or the positions.
            return_dict: False gives a tuple.
            cache: what transformers from 5.24 on calls ``past_key_values``; either name is taken.

        Returns:
            ``CausalLMOutputWithPast``, or a tuple where ``return_dict`` is False.

        Raises:
            ValueError: marks and media differ in number, or the cache cannot be continued with new media: with an
                ``attend`` that looks ahead, and where a row without media skips the gated blocks.
        """
        cache = one_cache(cache, past_key_values)
        text = dict(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)
        text |= dict(cache=cache, inputs_embeds=inputs_embeds, segment_ids=segment_ids)
        news = pixel_values is not None or media is not None or not _is_filled(cache, input_ids)
        media, inputs, segment_ids = self._prepared(**text, pixels=(pixel_values, frame_mask), media=media)
        options = dict(use_cache=use_cache, logits_to_keep=logits_to_keep, return_dict=True)
        if torch.compiler.is_compiling():  # a graph keeps the library that was chosen
            outputs = self.decoder(media=media, **inputs, **options, **kwargs)
        else:
            with products_of(_ids(input_ids, inputs_embeds).numel()):
                outputs = self.decoder(media=media, **inputs, **options, **kwargs)
        if news and outputs.get(CACHE) is not None:
            ids = _ids(input_ids, inputs_embeds)
            outputs[CACHE].media = kept(self.config, media, ids, segment_ids)
        if labels is not None:
            targets = supervised(labels, segment_ids)
            outputs.loss = F.cross_entropy(targets.predicted_by(outputs.logits).float(), targets.labels)
        return outputs if return_dict is not False else outputs.to_tuple()

    @property
    def base_model(self) -> Backbone:
        """What runs below the output head, as trainers call it that make the logits themselves."""
        return Backbone(self)

    def _prepared(
        self,
        input_ids: Tensor | None,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Any,
        inputs_embeds: Tensor | None,
        segment_ids: Tensor | None,
        pixels: tuple[Tensor | None, Tensor | None],
        media: Tensor | Media | None,
    ) -> tuple[Media | None, dict[str, Any], Tensor | None]:
        """The media of a call, the language model's inputs, and the segments."""
        filled = _is_filled(cache, input_ids)
        ids = _ids(input_ids, inputs_embeds)
        if segment_ids is None and isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
            segment_ids = attention_mask[:, -ids.shape[1] :].long()
        if filled and pixels[0] is None and media is None:
            media = self._unchanged(cache, input_ids)
        else:
            if not isinstance(media, Media):
                seen = getattr(cache, 'media', None) if filled else None
                latents = self._latents(input_ids, *pixels, media, None if seen is None else seen.marks)
                if filled:
                    media = continued(self.config, seen, ids, segment_ids, latents)
                else:
                    media = look(self.config, ids, segment_ids, latents)
            if media is not None and media.latents is not None:
                spread = len(set(getattr(self, 'hf_device_map', {}).values())) > 1  # a block moves what it gets
                if media.keys_values is not None or not (torch.is_grad_enabled() or spread):
                    media = project(media, self.gated_blocks)
        inputs = dict(attention_mask=attention_mask, position_ids=position_ids, **{CACHE: cache})
        if not filled and attention_mask is None and segment_ids is not None:
            inputs |= self.decoder.text_inputs(input_ids, position_ids, segment_ids)
        inputs |= dict(input_ids=input_ids) if inputs_embeds is None else dict(inputs_embeds=inputs_embeds)
        return media, inputs, segment_ids

    def encode_pixels(
        self, input_ids: Tensor, pixel_values: Tensor, frame_mask: Tensor | None = None, marks: Tensor | None = None
    ) -> Tensor:
        """Latents (R, M, L, D) of the dense form of media that ``forward`` takes.

        Args:
            input_ids: (R, S).
            pixel_values: (R, M, F, 3, H, W).
            frame_mask: (R, M, F), see ``forward``.
            marks: (R,) the media of each row that stand before ``input_ids``. Default: none.
        """
        rows, count, frames = pixel_values.shape[:3]
        token = self.config.media_token_id
        if frame_mask is None:
            frame_mask = marked_media(input_ids, count, token)[..., None].expand(-1, -1, frames)
        frame_mask = frame_mask.bool()
        exists = frame_mask.any(-1)
        check_marks(input_ids, exists, token)
        places = torch.full((rows, count, frames), -1, device=pixel_values.device)
        places[frame_mask] = torch.arange(int(frame_mask.sum()), device=pixel_values.device)
        index = None
        if marks is not None:
            index = (marks.unsqueeze(1) + torch.arange(count, device=marks.device))[exists]
        return self.encode_media(Frames(pixel_values[frame_mask], None, places), index)

    def _latents(
        self,
        input_ids: Tensor | None,
        pixels: Tensor | None,
        frame_mask: Tensor | None,
        latents: Tensor | None,
        marks: Tensor | None,
    ) -> Tensor | None:
        """The latents of a call, from whichever form of media it was given, checked against the marks."""
        if pixels is not None:
            return self.encode_pixels(input_ids, pixels, frame_mask, marks)
        if input_ids is not None:
            token = self.config.media_token_id
            exists = None if latents is None else marked_media(input_ids, latents.shape[1], token)
            check_marks(input_ids, exists, token)
        return latents

    def _unchanged(self, cache: Any, input_ids: Tensor | None) -> Media | None:
        """The media of a call that continues a cache with text alone: they travel on it."""
        # to look at each decoded token would make an accelerator wait, and break a compiled graph
        waits = input_ids is not None and (input_ids.device.type == 'cpu' or input_ids.shape[1] > 1)
        if waits and not torch.compiler.is_compiling():
            check_marks(input_ids, None, self.config.media_token_id)
        return getattr(cache, 'media', None)

    def media_after(self, input_ids: Tensor, latents: Tensor | None) -> Media | None:
        """What travels on a cache that holds ``input_ids`` (R, S), whose media have the latents (R, M, L, D)."""
        media = look(self.config, input_ids, None, latents)
        if latents is not None:
            media = project(media, self.gated_blocks)
        return kept(self.config, media, input_ids, None)

    def prepare_inputs_for_generation(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Drops the media once they are on the cache."""
        inputs = super().prepare_inputs_for_generation(input_ids, *args, **kwargs)
        if inputs.get(CACHE) is not None and not kwargs.get('is_first_iteration'):
            for name in ('media', 'pixel_values', 'frame_mask', 'segment_ids'):
                inputs.pop(name, None)
        return inputs

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: LogitsProcessorList | None = None,
        *args: Any,
        pixel_values: Tensor | None = None,
        frame_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Hugging Face's ``generate`` (greedy, sampling, beams, streamer). Batches are padded on the left.

        The media are encoded once, before rows are expanded for beams, and ``<image>`` is never generated. With
        ``past_key_values`` that an earlier call filled, the media are those whose marks the cache does not hold yet.

        Args:
            inputs: ``input_ids`` (R, S), or as the keyword ``input_ids``.
            generation_config, logits_processor: as Hugging Face's ``generate`` takes them, which has the defaults.
            pixel_values, frame_mask: as ``forward`` takes them.
            kwargs: as Hugging Face's ``generate`` takes them.
        """
        cache = one_cache(kwargs.pop('cache', None), kwargs.pop('past_key_values', None))
        if cache is not None:
            kwargs[CACHE] = cache
        if pixel_values is not None:
            ids = inputs if inputs is not None else kwargs.get('input_ids')
            mask, marks = kwargs.get('attention_mask'), None
            if _is_filled(cache, ids):
                marks = None if cache.media is None else cache.media.marks
                if mask is None or mask.shape[1] == ids.shape[1]:  # the whole text, not what is new of it
                    ids = ids[:, int(cache.get_seq_length()) :]
            kwargs['media'] = self.encode_pixels(ids, pixel_values, frame_mask, marks)
        if generation_config is None:
            kwargs.setdefault('use_cache', True)  # MPT's own default would compute the whole text at each token
        processors = LogitsProcessorList([*(logits_processor or ()), Never(self.config.media_token_id)])
        return super().generate(inputs, generation_config, processors, *args, **kwargs)


class Never(LogitsProcessor):
    """Rules out one token. Hugging Face's ``suppress_tokens`` looks through the whole vocabulary at each step instead.

    Args:
        token_id: the token.
    """

    def __init__(self, token_id: int) -> None:
        self.token_id = token_id
        self._index: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores (R, V) with that of the token at minus infinity."""
        if self._index is None or self._index.device != scores.device:
            self._index = torch.tensor([self.token_id], device=scores.device)
        return scores.index_fill(-1, self._index, -torch.inf)


def _ids(input_ids: Tensor | None, inputs_embeds: Tensor | None) -> Tensor:
    """The ids of a call, or something of their shape where only embeddings are given."""
    return input_ids if input_ids is not None else torch.full_like(inputs_embeds[..., 0], -1, dtype=torch.long)


def _is_filled(cache: Any, text: Tensor | None) -> bool:
    """Whether a call goes on with a text that the cache holds."""
    if cache is None:
        return False
    length = cache.get_seq_length()
    if isinstance(length, Tensor) and hasattr(cache, 'media') and text is not None and text.shape[1] == 1:
        return True  # a decoded token: to look into the tensor would stop an accelerator, and break a compiled graph
    return int(length) > 0
