"""The composed model: a vision encoder, a resampler and a language model with gated cross-attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._dynamo import config as dynamo_config
from transformers import AutoModelForCausalLM, PreTrainedModel

from mmgpt.models.adapter_switching import Switchable
from mmgpt.models.attention_interface import use_own_attention
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.generation import Generating
from mmgpt.models.loading import LoadedStrictly
from mmgpt.models.loss import LossSums, cross_entropy_sums, supervised
from mmgpt.models.media import Frames, check_marks, look
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
from mmgpt.structures import Batch

# torch.compile takes two modules of one class for equal unless it also looks at their hooks, and the gated blocks are
# reached through hooks: a second compiled model would silently run the first one's blocks
dynamo_config.skip_nnmodule_hook_guards = False


@MODELS.register_module()
class Flamingo(LoadedStrictly, Switchable, Generating):
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
    accepts_loss_kwargs = False  # forward's loss is a mean: transformers.Trainer must divide it by the accumulation
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

        Raises:
            ValueError: the vision encoder or the resampler gave another shape than it should.
        """
        places = frames.places
        features = frames.features
        if frames.pixels is not None:
            encoded = encode_frames(self.vision_encoder, frames.pixels)
            _check_shape(encoded, len(frames.pixels), self.vision_encoder)
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
        _check_shape(latents, len(used), self.resampler)
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
        token, blank = self.config.media_token_id, batch.get('blank_media', False)
        check_marks(input_ids, None if places is None or blank else (places >= 0).any(-1), token)
        latents = None
        if places is not None and bool((places >= 0).any()):
            frames = Frames(batch.get('frames'), batch.get('vision_features'), places)
            latents = self.encode_media(frames, None if blank else media_index(input_ids, segment_ids, token))
        whole_rows = blank or self.decoder.whole_rows
        media = look(self.config, input_ids, segment_ids, latents, batch.get('attend_next'), whole_rows)
        targets = supervised(batch['labels'], segment_ids, batch.get('loss_weights'), batch.get('kinds'))
        text = dict(input_ids=input_ids, position_ids=batch.get('position_ids'), segment_ids=segment_ids)
        if self.decoder.traits.head_outside:
            states = targets.predicted_by(self.decoder.hidden_states(**text, media=media))
            head = self.decoder.supervised_logits
        else:
            states, head = targets.predicted_by(self.decoder.own_logits(**text, media=media)), nn.Identity()
        tokens = (segment_ids > 0).sum() if segment_ids is not None else input_ids.new_tensor(input_ids.numel())
        added = getattr(self, CHILD, None)
        owners = [self.get_output_embeddings(), *([] if added is None else [added])]
        trained = [p for owner in owners for p in owner.parameters() if p.requires_grad]
        return cross_entropy_sums(states, head, self.config.text_config.vocab_size, targets, tokens, trained)


def _check_shape(made: Tensor, count: int, part: nn.Module) -> None:
    """Refuses what a plugin made in another shape, since it might be broadcast."""
    if made.ndim != 3 or (made.shape[0], made.shape[2]) != (count, part.width):
        raise ValueError(
            f'{type(part).__name__} gave features of shape {tuple(made.shape)}, expected ({count}, any, {part.width}): '
            'as many as it was given, and its own width at the end'
        )
