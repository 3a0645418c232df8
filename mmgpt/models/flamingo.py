"""The composed model: a vision encoder, a resampler and a language model with gated cross-attention."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo import config as dynamo_config
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from mmgpt.models.adapter_switching import Switchable
from mmgpt.models.attention_interface import use_own_attention
from mmgpt.models.backbone import Backbone
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.generation import Never
from mmgpt.models.loading import LoadedStrictly
from mmgpt.models.loss import LossSums, cross_entropy_sums, supervised
from mmgpt.models.media import check_marks, look, marked_media, project
from mmgpt.models.media_cache import continued, kept
from mmgpt.models.media_span import media_index
from mmgpt.models.new_tokens import CHILD
from mmgpt.models.vision_encoders.normalisation import encode_frames
from mmgpt.registry import (
    ADAPTERS,
    CROSS_ATTENTIONS,
    LANGUAGE_DECODERS,
    MODELS,
    RESAMPLERS,
    VISION_ENCODERS,
    require_plugins,
)
from mmgpt.structures import Batch, Media

# torch.compile takes two modules of one class for equal unless it also looks at their hooks, and the gated blocks are
# reached through hooks: a second compiled model would silently run the first one's blocks
dynamo_config.skip_nnmodule_hook_guards = False


class Frames(NamedTuple):
    """The media of a batch before they are encoded: each distinct frame once, and who uses it."""

    pixels: Tensor | None  # (N, 3, H, W) uint8, or float and normalised
    features: Tensor | None  # (C, P, D) of frames that are not among the pixels
    places: Tensor  # (R, M, F) int64 into C + N, those with features first; -1 = none


@MODELS.register_module()
class Flamingo(LoadedStrictly, Switchable, GenerationMixin):
    """A Flamingo-type vision-language model (arXiv 2204.14198) around an unmodified causal language model.

    Children: ``vision_encoder``, ``resampler``, ``language_model`` (below it the language model's own names) and
    ``gated_blocks``, a ``ModuleDict`` by layer index. Nothing of a call stays on a layer: what a call may look at
    travels as one ``Media`` value, and between the steps of a generation on the cache object.

    Args:
        config: the parts.
        language_model: one that is loaded already; default: a new one from ``config.text_config``.
        vision_encoder: one that is loaded already; default: a new one from ``config.vision_encoder``.

    Raises:
        ValueError: no layer gets a gated block, or the media would not reach every layer of the language model.
        ImportError: a part comes from a plugin that was not imported; the message names the module.
    """

    config_class = FlamingoConfig
    base_model_prefix = ''
    main_input_name = 'input_ids'
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(
        self,
        config: FlamingoConfig,
        language_model: PreTrainedModel | None = None,
        vision_encoder: nn.Module | None = None,
    ) -> None:
        super().__init__(config)
        require_plugins(config.plugin_modules)
        self.vision_encoder = VISION_ENCODERS.build(config.vision_encoder) if vision_encoder is None else vision_encoder
        use_own_attention(self.vision_encoder)
        self.resampler = RESAMPLERS.build({**config.resampler, 'width': self.vision_encoder.width})
        self.language_model = (
            AutoModelForCausalLM.from_config(config.text_config) if language_model is None else language_model
        )
        self.decoder = LANGUAGE_DECODERS.build({**config.language_decoder, 'lm': self.language_model})
        block = dict(config.cross_attention, width=self.decoder.width, media_width=self.resampler.width)
        first, every = config.cross_attn_first_layer, config.cross_attn_every_n_layers
        gated = range(len(self.decoder.layers))[every - 1 if first is None else first :: every]
        if not gated:
            place = f'cross_attn_every_n_layers={every}' if first is None else f'cross_attn_first_layer={first}'
            raise ValueError(f'{place} leaves no block in {len(self.decoder.layers)} layers: lower it')
        self.gated_blocks = nn.ModuleDict({str(index): CROSS_ATTENTIONS.build(block) for index in gated})
        _ = self.decoder.traits  # raises where the media do not reach every layer
        self.decoder.attach(self.gated_blocks)
        if config.adapter is not None:
            ADAPTERS.build(config.adapter).inject(self)
        whole = (self.vision_encoder, self.resampler, *self.gated_blocks.values())
        self._no_split_modules = {type(module).__name__ for module in whole}  # of a device map
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: every part initialises itself when it is built."""

    def get_input_embeddings(self) -> nn.Module:
        """The language model's input embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the language model's input embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's output head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replaces the language model's output head."""
        self.language_model.set_output_embeddings(value)

    # ---- media

    def encode_media(self, frames: Frames, index: Tensor | None = None) -> Tensor:
        """Frames -> latents (R, M, L, D), 0 where a row has fewer media.

        Each distinct frame is encoded once, and only media that exist are resampled.

        Args:
            frames: the frames and their places.
            index: (media of the batch,) the place of each medium in its sample, row by row. Default: its place in
                its row.
        """
        places = frames.places
        features = frames.features
        if frames.pixels is not None:
            encoded = encode_frames(self.vision_encoder, frames.pixels)
            features = encoded if features is None else torch.cat([features.to(encoded), encoded])
        exists = (places >= 0).any(-1)  # (R, M)
        used = places[exists]  # (media of the batch, F)
        if index is None:
            index = torch.arange(places.shape[1], device=places.device).expand_as(exists)[exists]
        mask = used >= 0
        whole = places.shape[2] == 1 or bool(mask.all())
        features = features.to(next(self.resampler.parameters(), features).dtype)  # the encoder may be kept in half
        used = used.to(features.device)  # another one than of the text where the model is spread over several
        latents = self.resampler(features[used.clamp(min=0)], None if whole else mask, index)
        exists = exists.to(latents.device)
        out = latents.new_zeros(*exists.shape, *latents.shape[1:])
        out[exists] = latents
        return out

    # ---- training

    def compute_loss(self, batch: Batch) -> LossSums:
        """The loss of a batch as sums; logits are made at supervised positions only.

        Args:
            batch: as ``mmgpt.structures.Batch`` says, on this model's device.

        Returns:
            Sums; divide ``loss_sum`` by ``weight_sum`` (of the whole accumulation window) for the mean.

        Raises:
            ValueError: marks and media differ in number, a packed row with a language model that cannot pack, or
                ``attend_next`` with a model that attends to all media.
        """
        input_ids, segment_ids = batch['input_ids'], batch.get('segment_ids')
        places = batch.get('media_frames')
        if places is not None and places.numel() == 0:
            places = None
        token = self.config.media_token_id
        check_marks(input_ids, None if places is None else (places >= 0).any(-1), token)
        latents = None
        if places is not None and bool((places >= 0).any()):
            frames = Frames(batch.get('frames'), batch.get('vision_features'), places)
            latents = self.encode_media(frames, media_index(input_ids, segment_ids, token))
        media = look(self.config, input_ids, segment_ids, latents, batch.get('attend_next'), self.decoder.whole_rows)
        targets = supervised(batch['labels'], segment_ids, batch.get('loss_weights'), batch.get('kinds'))
        text = dict(input_ids=input_ids, position_ids=batch.get('position_ids'), segment_ids=segment_ids)
        if self.decoder.traits.head_outside:
            states = self.decoder.hidden_states(**text, media=media)[:, :-1][targets.select]
            head = self.decoder.supervised_logits
        else:
            states, head = self.decoder.own_logits(**text, media=media)[:, :-1][targets.select], nn.Identity()
        tokens = (segment_ids > 0).sum() if segment_ids is not None else input_ids.new_tensor(input_ids.numel())
        added = getattr(self, CHILD, None)
        owners = [self.get_output_embeddings(), *([] if added is None else [added])]
        trained = [p for owner in owners for p in owner.parameters() if p.requires_grad]
        return cross_entropy_sums(states, head, self.config.text_config.vocab_size, targets, tokens, trained)

    # ---- the Hugging Face face

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

        Returns:
            ``CausalLMOutputWithPast``, or a tuple where ``return_dict`` is False.

        Raises:
            ValueError: marks and media differ in number, or the cache cannot be continued with new media: with an
                ``attend`` that looks ahead, and where a row without media skips the gated blocks.
        """
        text = dict(input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids)
        text |= dict(past_key_values=past_key_values, inputs_embeds=inputs_embeds, segment_ids=segment_ids)
        news = pixel_values is not None or media is not None or not _is_filled(past_key_values, input_ids)
        media, inputs, segment_ids = self._prepared(**text, pixels=(pixel_values, frame_mask), media=media)
        outputs = self.decoder(
            media=media,
            **inputs,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            return_dict=True,
            **kwargs,
        )
        if news and outputs.get('past_key_values') is not None:
            ids = _ids(input_ids, inputs_embeds)
            outputs.past_key_values.media = kept(self.config, media, ids, segment_ids)
        if labels is not None:
            targets = supervised(labels, segment_ids)
            outputs.loss = F.cross_entropy(outputs.logits[:, :-1][targets.select].float(), targets.labels)
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
        past_key_values: Any,
        inputs_embeds: Tensor | None,
        segment_ids: Tensor | None,
        pixels: tuple[Tensor | None, Tensor | None],
        media: Tensor | Media | None,
    ) -> tuple[Media | None, dict[str, Any], Tensor | None]:
        """The media of a call, the language model's inputs, and the segments."""
        filled = _is_filled(past_key_values, input_ids)
        ids = _ids(input_ids, inputs_embeds)
        if segment_ids is None and isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
            segment_ids = attention_mask[:, -ids.shape[1] :].long()
        if filled and pixels[0] is None and media is None:
            media = self._unchanged(past_key_values, input_ids)
        else:
            if not isinstance(media, Media):
                seen = getattr(past_key_values, 'media', None) if filled else None
                latents = self._latents(input_ids, *pixels, media, None if seen is None else seen.marks)
                if filled:
                    media = continued(self.config, seen, ids, segment_ids, latents)
                else:
                    media = look(self.config, ids, segment_ids, latents)
            if media is not None and media.latents is not None:
                spread = len(set(getattr(self, 'hf_device_map', {}).values())) > 1  # a block moves what it gets
                if media.keys_values is not None or not (torch.is_grad_enabled() or spread):
                    media = project(media, self.gated_blocks)
        inputs = dict(attention_mask=attention_mask, position_ids=position_ids, past_key_values=past_key_values)
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
        if inputs.get('past_key_values') is not None and not kwargs.get('is_first_iteration'):
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
        if pixel_values is not None:
            ids = inputs if inputs is not None else kwargs.get('input_ids')
            cache, mask, marks = kwargs.get('past_key_values'), kwargs.get('attention_mask'), None
            if _is_filled(cache, ids):
                marks = None if cache.media is None else cache.media.marks
                if mask is None or mask.shape[1] == ids.shape[1]:  # the whole text, not what is new of it
                    ids = ids[:, int(cache.get_seq_length()) :]
            kwargs['media'] = self.encode_pixels(ids, pixel_values, frame_mask, marks)
        if generation_config is None:
            kwargs.setdefault('use_cache', True)  # MPT's own default would compute the whole text at each token
        processors = LogitsProcessorList([*(logits_processor or ()), Never(self.config.media_token_id)])
        return super().generate(inputs, generation_config, processors, *args, **kwargs)


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
