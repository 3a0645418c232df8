"""Finds out how a family of language models behaves, by running a shrunk random copy of one."""

from __future__ import annotations

import contextlib
import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from mmgpt.structures import Media

if TYPE_CHECKING:
    from mmgpt.models.language_decoders.causal_lm import CausalLM

WIDTH, HEADS, LAYERS, VOCABULARY, LENGTH = 32, 2, 2, 32, 64
SEGMENTS = (7, 5)  # the lengths of the two samples that are packed into one row
TOLERANCE = 1e-4

_known: dict[tuple[type, type, str | None, str], Traits] = {}


class Traits(NamedTuple):
    """What a family of language models needs."""

    packing: str | None  # 'positions', 'bool_mask', 'float_mask'; None: packed rows are never equal to single ones
    by_segment: bool  # on a CPU, the samples of a packed row can go through self-attention one by one
    head_outside: bool  # the output head on the last hidden states gives the model's own logits


def traits_of(decoder: CausalLM) -> Traits:
    """Runs a copy of the decoder's language model with two narrow layers and random weights on the CPU.

    Raises:
        ValueError: the media do not reach every layer.
    """
    config = decoder.lm.config.get_text_config()
    key = (type(decoder), type(decoder.lm), config._attn_implementation, config.to_json_string())
    if key not in _known:
        # 'cpu', because the model itself may be under construction on 'meta'
        with torch.device('cpu'), torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.no_grad():
            _known[key] = _probe(type(decoder)(_shrunk_copy(decoder.lm)))
    return _known[key]


def _probe(decoder: CausalLM) -> Traits:
    lm = decoder.lm
    generator = torch.Generator().manual_seed(0)
    row = torch.randint(3, VOCABULARY, (1, sum(SEGMENTS)), generator=generator)
    reached: list[int] = []
    handles = [
        layer.register_forward_pre_hook(_Recorder(decoder, index, reached), with_kwargs=True)
        for index, layer in enumerate(decoder.layers)
    ]
    nothing = torch.zeros(1, row.shape[1], dtype=torch.bool)
    decoder(media=Media(None, torch.zeros(1, row.shape[1], 2, dtype=torch.long), nothing), input_ids=row)
    for handle in handles:
        handle.remove()
    if reached != list(range(len(decoder.layers))):
        raise ValueError(
            f'the media do not reach the layers of {type(lm).__name__} through the language decoder '
            f'{type(decoder).__name__}: of {len(decoder.layers)} layers, {len(reached)} got them. '
            'Use the decoder of its family, or write one and register it in LANGUAGE_DECODERS'
        )
    hidden = lm.base_model(input_ids=row, use_cache=False)[0]
    own = lm(input_ids=row, use_cache=False).logits
    routes = _packing_routes(lm, row)
    by_segment = 'segments' in routes
    packing = next((route for route in routes if route != 'segments'), None)
    return Traits(packing, by_segment and packing is not None, _close(decoder.head(hidden), own))


def _packing_routes(lm: PreTrainedModel, row: Tensor) -> list[str]:
    """The ways of masking under which a packed row equals its samples run one by one."""
    from mmgpt.models.language_decoders.causal_lm import packed_inputs

    pieces = row.split(SEGMENTS, 1)
    alone = torch.cat([lm(input_ids=piece, use_cache=False).logits for piece in pieces], 1)
    segments = torch.cat([torch.full_like(piece, index + 1) for index, piece in enumerate(pieces)], 1)
    found = []
    for route in ('segments', 'positions', 'bool_mask', 'float_mask'):
        try:
            packed = lm(input_ids=row, use_cache=False, **packed_inputs(route, row, None, segments, lm)).logits
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue  # a mask of this form is refused by the family
        if _close(packed, alone):
            found.append(route)
    return found


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * other.abs().max().clamp(min=1))


class _Recorder:
    """Notes which layers get the media."""

    def __init__(self, decoder: CausalLM, layer: int, reached: list[int]) -> None:
        self.decoder, self.layer, self.reached = decoder, layer, reached

    def __call__(self, module, args, kwargs):
        if self.decoder.take_media(kwargs) is not None:
            self.reached.append(self.layer)
        return args, kwargs


def _shrunk_copy(lm: PreTrainedModel) -> PreTrainedModel:
    """A model of the same class with few, narrow layers, float32 on the CPU, every parameter random."""
    config = _shrunk(lm.config.get_text_config())
    model = type(lm)(config).float().eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        scale = 0.3 if parameter.ndim > 1 else 0.1
        parameter.data = noise * scale + (parameter.ndim == 1)  # one-dimensional: a norm's scale or a bias, around 1
    model.tie_weights()
    return model


def _shrunk(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same family with small sizes; what decides its behaviour (scales, caps, windows, positions) is kept."""
    config = copy.deepcopy(config)
    if config._attn_implementation != 'eager':
        config._attn_implementation = 'sdpa'  # the others do not run on every CPU
    sizes = {
        'num_hidden_layers': LAYERS,
        'hidden_size': WIDTH,
        'num_attention_heads': HEADS,
        'num_key_value_heads': HEADS,
        'head_dim': WIDTH // HEADS,
        'intermediate_size': 2 * WIDTH,
        'ffn_dim': 2 * WIDTH,
        'word_embed_proj_dim': WIDTH,
        'vocab_size': VOCABULARY,
        'max_position_embeddings': LENGTH,
        'max_seq_len': LENGTH,
        'n_positions': LENGTH,
    }
    for name, size in sizes.items():
        if isinstance(getattr(config, name, None), int):
            with contextlib.suppress(AttributeError):  # a family that computes it from the others
                setattr(config, name, size)
    for name in ('bos_token_id', 'eos_token_id', 'pad_token_id'):
        if getattr(config, name, None) is not None:
            setattr(config, name, 0)
    for name in ('layer_types', 'mlp_layer_types'):
        if getattr(config, name, None):
            setattr(config, name, getattr(config, name)[:LAYERS])
    if isinstance(getattr(config, 'sliding_window', None), int):
        config.sliding_window = 4
    return config
