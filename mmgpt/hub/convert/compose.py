"""A new model of any parts, to be trained."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

import torch

from mmgpt.hub.convert.files import require_absent
from mmgpt.hub.convert.parts import load_tokenizer, load_vision_tower
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.convert.result import dtype_of, write
from mmgpt.models.builder import build_model
from mmgpt.registry import TEMPLATES


def compose(
    language_model: str,
    vision_model: str,
    out: str,
    resampler: Sequence[str] = ('PerceiverResampler',),
    cross_attention: Sequence[str] = ('GatedCrossAttention',),
    template: Sequence[str] = ('Otter', 'spacing=spaced'),
    tokenizer: str | None = None,
    cross_attn_every_n_layers: int | None = None,
    normalize_patches: bool | None = None,
    attend: str = 'previous',
    dtype: str | None = None,
    seed: int = 0,
) -> Report:
    """Puts a new model together: language model and vision tower with their weights, the rest random, gates at 0.

    With the gates at 0 it computes what the language model alone computes. The template's special tokens are added.

    Args:
        language_model: folder or hub id.
        vision_model: as ``load_vision_tower`` takes it.
        out: the folder to write; must not exist.
        resampler: its type and arguments of its constructor: ``['PerceiverResampler', 'num_latents=32']``.
        cross_attention: as ``resampler``.
        template: as ``resampler``.
        tokenizer: folder or hub id. Default: the language model's.
        cross_attn_every_n_layers: a gated block before every nth layer. Default: 1.
        normalize_patches: whether the final LayerNorm is applied to the patches. Default: as the encoder does.
        attend: which media text sees, see ``mmgpt.models.media_span``.
        dtype: of the result. Default: the language model's.
        seed: of the random weights.

    Raises:
        OSError: an input is not there, or ``out`` is.
        KeyError: a type that is not registered.
        ValueError: parts that do not fit.
    """
    require_absent(out)
    prompts = TEMPLATES.build(described(template))
    words = load_tokenizer(tokenizer or language_model, prompts)
    tower = load_vision_tower(vision_model, normalize_patches)
    torch.manual_seed(seed)
    parts = {
        'vision_encoder': tower.config,
        'resampler': described(resampler),
        'language_decoder': {'weights': language_model, 'dtype': dtype_of(dtype)},
        'cross_attention': described(cross_attention),
        'cross_attn_every_n_layers': 1 if cross_attn_every_n_layers is None else cross_attn_every_n_layers,
        'attend': attend,
    }
    try:
        model = build_model(parts, words, prompts.media_token, prompts.stop_token, prompts.special_tokens)
    except TypeError as error:  # an argument that a constructor does not take
        raise ConversionError(str(error)) from error
    model.vision_encoder.load_state_dict(tower.encoder.state_dict())
    return write(out, model.to(model.language_model.dtype).eval(), words, prompts, Report())


def described(words: Sequence[str]) -> dict[str, Any]:
    """The config of a part of words on the command line: a type, then ``name=value``.

    Example:
        >>> described(['PerceiverResampler', 'num_latents=32'])
        {'type': 'PerceiverResampler', 'num_latents': 32}
    """
    kind, *options = words
    return {'type': kind, **dict(map(_option, options))}


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition('=')
    if not equals or not name.isidentifier():
        raise ValueError(f'expected name=value after a type, got {text!r}')
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
