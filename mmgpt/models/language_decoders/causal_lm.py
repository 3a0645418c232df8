"""The generic decoder: media travel to the layers as a keyword of the language model's forward."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mmgpt.models.attention_interface import NAME, segments_mask, use_own_attention
from mmgpt.models.language_decoders.probe import Traits, traits_of
from mmgpt.registry import LANGUAGE_DECODERS
from mmgpt.structures import Media

# where the families keep their layers; anything else is found by the number of layers
LAYER_LISTS = ('model.layers', 'model.decoder.layers', 'gpt_neox.layers', 'transformer.h', 'transformer.blocks')


class LayerHook:
    """Runs before a layer: takes ``media`` out of its keywords and sends the hidden states through the gated block.

    An instance of a class rather than a closure, so that a deep copy of the model hooks its own block.
    """

    def __init__(self, block: nn.Module | None, layer: int, decoder: CausalLM) -> None:
        self.block = block
        self.layer = layer
        self.decoder = decoder

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        """The arguments that the layer gets instead."""
        media = self.decoder.take_media(kwargs)
        if media is None or self.block is None:
            return args, kwargs
        if args:
            return (self.block(args[0], media, self.layer), *args[1:]), kwargs
        kwargs['hidden_states'] = self.block(kwargs['hidden_states'], media, self.layer)
        return args, kwargs


@LANGUAGE_DECODERS.register_module()
class CausalLM:
    """Runs any Hugging Face causal language model whose layers receive the unknown keywords of its forward.

    The language model is not changed: its parameter names stay as published, and the gated blocks live beside it.
    What differs between families (packing, a head that scales its logits) is found out by running a shrunk copy of
    the model: see ``traits``.

    Args:
        lm: the language model.

    Raises:
        ValueError: the layers of ``lm`` cannot be found.
    """

    whole_rows = False  # True: the samples of packed rows are masked and never taken one by one

    def __init__(self, lm: PreTrainedModel) -> None:
        self.lm = lm
        use_own_attention(lm)
        self.layers_name = _find_layers(lm)  # below the language model

    @property
    def layers(self) -> nn.ModuleList:
        """The decoder layers."""
        return self.lm.get_submodule(self.layers_name)

    @property
    def width(self) -> int:
        """Width of the hidden states between the layers (D)."""
        return self.lm.config.get_text_config().hidden_size

    @property
    def embed(self) -> nn.Module:
        """The input embedding."""
        return self.lm.get_input_embeddings()

    @property
    def head(self) -> nn.Module:
        """The output head."""
        return self.lm.get_output_embeddings()

    @cached_property
    def traits(self) -> Traits:
        """What this family needs, found by running a shrunk random copy of it; kept per configuration."""
        return traits_of(self)

    def attach(self, blocks: nn.ModuleDict) -> None:
        """Lets block ``blocks[str(i)]`` run before layer i. Layers without a block drop the media keyword."""
        named = dict(blocks.items())
        for index, layer in enumerate(self.layers):
            layer.register_forward_pre_hook(LayerHook(named.get(str(index)), index, self), with_kwargs=True)

    def take_media(self, kwargs: dict[str, Any]) -> Media | None:
        """The media of the running call, taken out of a layer's keywords."""
        return kwargs.pop('media', None)

    @contextmanager
    def carrying(self, media: Media | None) -> Iterator[dict[str, Any]]:
        """The keywords that bring ``media`` to the layers during one call."""
        yield {} if media is None else {'media': media}

    def __call__(self, media: Media | None = None, **inputs: Any) -> Any:
        """The language model's own forward, looking at ``media``."""
        with self.carrying(media) as keywords:
            return self.lm(**inputs, **keywords)

    def hidden_states(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        media: Media | None = None,
    ) -> Tensor:
        """What enters the output head, for training.

        Args:
            input_ids: (R, S).
            position_ids: (R, S), restarted at each sample of a packed row. Default: counted from the segments.
            segment_ids: (R, S), 0 = pad, 1..k = the samples of a row. Default: one sample per row, no pads.
            media: what the tokens may look at.

        Returns:
            (R, S, D).

        Raises:
            ValueError: a row is packed and this language model cannot keep its samples apart.
        """
        inputs = self.text_inputs(input_ids, position_ids, segment_ids)
        with self.carrying(media) as keywords:
            return self.lm.base_model(input_ids=input_ids, **inputs, **keywords, use_cache=False)[0]

    def supervised_logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, V) of hidden states (n, D); the model's own only where ``traits.head_outside``."""
        return self.head(hidden)

    def own_logits(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        segment_ids: Tensor | None = None,
        media: Media | None = None,
    ) -> Tensor:
        """Logits (R, S, V) as the language model makes them, for training where the head alone does not suffice."""
        inputs = self.text_inputs(input_ids, position_ids, segment_ids)
        return self(media=media, input_ids=input_ids, **inputs, use_cache=False).logits

    def text_inputs(self, text: Tensor, position_ids: Tensor | None, segment_ids: Tensor | None) -> dict[str, Tensor]:
        """Mask and positions in the form that this language model needs.

        Pads on the right need neither: no real token sees what follows it.
        """
        if segment_ids is None:
            return {} if position_ids is None else {'position_ids': position_ids}
        if bool((segment_ids > 1).any()):
            one_by_one = self.traits.by_segment and text.device.type == 'cpu' and not self.whole_rows
            route = 'segments' if one_by_one else self.traits.packing
            return packed_inputs(route, text, position_ids, segment_ids, self.lm)
        if not bool((segment_ids[:, :-1] < segment_ids[:, 1:]).any()):
            return {}
        real = segment_ids > 0
        return {'attention_mask': real.long(), 'position_ids': (real.cumsum(1) - 1).clamp(min=0)}


def packed_inputs(
    route: str | None, text: Tensor, position_ids: Tensor | None, segment_ids: Tensor, lm: PreTrainedModel
) -> dict[str, Tensor]:
    """Mask and positions that keep the samples of a packed row apart.

    Args:
        route: ``'segments'`` (each sample by itself), ``'positions'`` (restarted positions say all), ``'bool_mask'`` or
            ``'float_mask'`` (a 4-D mask).
        text: token ids or embeddings, for the device.
        position_ids: (R, S) or None.
        segment_ids: (R, S).
        lm: the language model, for the dtype and for the message.

    Raises:
        ValueError: ``route`` is None, or flash attention would take several rows for unpacked ones.
    """
    if route is None:
        raise ValueError(
            f'{type(lm).__name__} gives other results for packed rows than for single ones, whichever way they are '
            'masked: train it with one sample per row (no packing)'
        )
    if position_ids is None:
        position_ids = positions_of(segment_ids)
    if route == 'segments':
        if lm.config.get_text_config()._attn_implementation != NAME:
            raise ValueError(f'packing by segments needs the attention implementation {NAME!r}')
        return {'attention_mask': segments_mask(segment_ids), 'position_ids': position_ids}
    if route == 'positions':
        attention = str(lm.config._attn_implementation)
        if 'flash' in attention and len(segment_ids) > 1:
            raise ValueError(
                f'with {attention} transformers keeps the samples of a packed row apart only where it is the only row, '
                f'and this batch has {len(segment_ids)}: set batch_size=1 and a larger row_length, or '
                "attn_implementation='sdpa'"
            )
        return {'position_ids': position_ids}
    size = segment_ids.shape[1]
    causal = torch.ones(size, size, dtype=torch.bool, device=text.device).tril()
    mask = ((segment_ids[:, :, None] == segment_ids[:, None, :]) & causal)[:, None]
    if route == 'float_mask':
        mask = torch.zeros(mask.shape, dtype=lm.dtype, device=text.device).masked_fill(~mask, torch.finfo(lm.dtype).min)
    return {'attention_mask': mask, 'position_ids': position_ids}


def positions_of(segment_ids: Tensor) -> Tensor:
    """(R, S): the place of each token in its segment."""
    place = torch.arange(segment_ids.shape[1], device=segment_ids.device).expand_as(segment_ids)
    first = torch.ones_like(segment_ids, dtype=torch.bool)
    first[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return place - torch.where(first, place, 0).cummax(1).values


def _find_layers(lm: PreTrainedModel) -> str:
    """The name of the list of decoder layers in ``lm``."""
    count = lm.config.get_text_config().num_hidden_layers
    lists = {name: module for name, module in lm.named_modules() if isinstance(module, nn.ModuleList)}
    fitting = [name for name, module in lists.items() if len(module) == count]
    known = [name for name in LAYER_LISTS if name in fitting]
    if not known and len(fitting) != 1:
        raise ValueError(
            f'cannot tell which modules are the {count} decoder layers of {type(lm).__name__}: '
            f'{"candidates are " + ", ".join(fitting) if fitting else "there is no list of that length"}; '
            'write a language decoder for it and register it in LANGUAGE_DECODERS'
        )
    return (known or fitting)[0]
