"""Puts a model together from the tensors of several places, strictly: all are placed, and none is left over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mmgpt.hub.convert.layouts import Renamer
from mmgpt.hub.convert.parts import LanguageModel
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.flamingo import Flamingo
from mmgpt.models.misfits import misfits, other_shapes, shown

HEAD_WIDTH = 64  # of the attention of every published model; their files do not tell it
GATED = re.compile(r'lang_encoder\.(.+)\.(\d+)\.gated_cross_attn_layer\.')


def renamed(state: Mapping[str, Tensor], names: Renamer, report: Report) -> dict[str, Tensor]:
    """The tensors of a published state dict by our names; what has no place is noted as unexpected.

    Raises:
        ConversionError: the gated blocks belong to a language model of another family.
    """
    for key in state:
        match = GATED.match(key)
        if match and match[1] != names.layers:
            raise ConversionError(
                f'the checkpoint has its gated blocks in {match[1]!r}, the language model keeps its layers in '
                f'{names.layers!r}: it was trained with a language model of another family'
            )
    return {name: state[key] for key, name in placed(state, names, report)}


def placed(keys: Iterable[str], names: Renamer, report: Report) -> Iterator[tuple[str, str]]:
    """The published name and ours of each tensor that has a place; the report notes what becomes of all."""
    for key in keys:
        if names.is_ignored(key):
            report.ignored.append(key)
        elif (name := names.ours(key)) is None:
            report.unexpected.append(key)
        else:
            report.loaded.append(key)
            yield key, name


def spacing(tensors: Mapping[str, Tensor], layers: int, given: int | None = None) -> int:
    """The n of a model with a gated block before each layer i with (i + 1) % n == 0.

    Args:
        tensors: by our names.
        layers: how many the language model has.
        given: what n should be; default: it follows from the blocks.

    Raises:
        ConversionError: the blocks lie elsewhere, or there is none.
    """
    found = sorted({int(name.split('.')[1]) for name in tensors if name.startswith('gated_blocks.')})
    if not found:
        raise ConversionError('the checkpoint holds no gated block (gated_cross_attn_layer): it is of another kind')
    every = given or found[0] + 1
    expected = list(range(every - 1, layers, every))
    if found != expected:
        raise ConversionError(
            f'the checkpoint has gated blocks at layers {found}, a language model of {layers} layers with one every '
            f'{every} has them at {expected}: '
            + (
                'correct --cross-attn-every-n-layers, for Otter config.json'
                if given
                else 'it was trained with another language model'
            )
        )
    return every


def resampler_config(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of the Perceiver resampler whose tensors these are."""
    latents, query, inner = (
        _needed(tensors, f'resampler.{name}') for name in ('latents', 'layers.0.0.to_q.weight', 'layers.0.1.1.weight')
    )
    depth = len({name.split('.')[2] for name in tensors if name.startswith('resampler.layers.')})
    frames, media = (tensors.get(f'resampler.{name}') for name in ('frame_embs', 'media_time_embs'))
    return {
        'type': 'PerceiverResampler',
        'depth': depth,
        'num_latents': len(latents),
        **_attention(query, 'resampler.layers.0.0.to_q.weight'),
        'feedforward_ratio': len(inner) // latents.shape[1],
        'max_frames': None if frames is None else len(frames),
        'max_media': None if media is None else len(media),
    }


def cross_attention_config(tensors: Mapping[str, Tensor], layer: int) -> dict[str, Any]:
    """The arguments of the gated blocks, as the one before ``layer`` shows them."""
    name = f'gated_blocks.{layer}.attn.to_q.weight'
    query, inner = _needed(tensors, name), _needed(tensors, f'gated_blocks.{layer}.ff.1.weight')
    ratio = len(inner) // inner.shape[1]
    return {'type': 'GatedCrossAttention', **_attention(query, name), 'feedforward_ratio': ratio}


def _attention(query: Tensor, name: str) -> dict[str, int]:
    heads, rest = divmod(len(query), HEAD_WIDTH)
    if rest:
        raise ConversionError(f'{name} has {len(query)} rows, which are no whole number of heads of {HEAD_WIDTH}')
    return {'heads': heads, 'head_width': HEAD_WIDTH}


def _needed(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors or tensors[name].ndim != 2:
        raise ConversionError(f'the checkpoint lacks {name}: it is cut, or of another kind')
    return tensors[name]


def with_rows(tensors: Mapping[str, Tensor], lm: LanguageModel, rows: int, report: Report) -> dict[str, Tensor]:
    """The tensors, those that have a row for each token with ``rows`` of them.

    As the published code did, rows beyond are cut off. New ones are the mean of the others: a token that was never
    trained is then never the likeliest.
    """
    tensors = dict(tensors)
    for name in (f'language_model.{row}' for row in lm.rows):
        old = tensors.get(name)
        if old is None or len(old) == rows:
            continue
        mean = old.float().mean(0, keepdim=True).to(old.dtype)
        tensors[name] = torch.cat([old[:rows], mean.expand(max(rows - len(old), 0), *old.shape[1:])])
        how = 'new rows are the mean of the others' if rows > len(old) else 'cut off'
        report.resized.append({'name': name, 'from': len(old), 'to': rows, 'how': how})
    return tensors


def beneath(lm: LanguageModel, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The language model's tensors by our names, without those that ``tensors`` has itself."""
    named = {f'language_model.{name}': value for name, value in lm.tensors.items()}
    return {name: value for name, value in named.items() if name not in tensors}


def built(
    config: FlamingoConfig, sources: Iterable[Mapping[str, Tensor]], report: Report, dtype: torch.dtype | None = None
) -> Flamingo:
    """The model of ``config`` with the tensors of ``sources``; of two for one place the later one is taken.

    Args:
        config: of the model.
        sources: tensors by our names.
        report: what is missing and unexpected is noted there too.
        dtype: of all floating tensors. Default: the widest of them, so that none is rounded.

    Raises:
        ConversionError: tensors are missing, left over, of another shape or not finite; the message lists them.
    """
    with torch.device('meta'):
        model = Flamingo(config)
    tied = _tied_names(model)
    state: dict[str, Tensor] = {}
    for source in sources:
        state |= _without_tied(source, tied)
    expected = {name: value for name, value in model.state_dict().items() if name not in tied}
    report.missing += sorted(expected.keys() - state.keys())
    report.unexpected += sorted(state.keys() - expected.keys())
    if faults := misfits(report.missing, report.unexpected, other_shapes(state, expected)):
        raise ConversionError(
            f'the checkpoint does not fit its parts:{shown(faults)}\n'
            'Was it trained with this language model and this vision model?'
        )
    floating = {value.dtype for value in state.values() if value.is_floating_point()}
    for other in floating if dtype is None else ():
        dtype = other if dtype is None else torch.promote_types(dtype, other)
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    if broken := [name for name, value in state.items() if not value.isfinite().all()]:
        raise ConversionError(
            f'values that are not finite, in the checkpoint or once they are {dtype} (--dtype):{shown(broken)}'
        )
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    model.config.text_config.dtype = dtype
    return model.eval()


def _tied_names(model: Flamingo) -> dict[str, str]:
    """Second names of a shared parameter -> its first."""
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if first.setdefault(id(parameter), name) != name:
            tied[name] = first[id(parameter)]
    return tied


def _without_tied(source: Mapping[str, Tensor], tied: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a source, those with two names under the first of them.

    Raises:
        ConversionError: the two names hold different tensors.
    """
    tensors = dict(source)
    for name, first in tied.items():
        if name in tensors:
            value = tensors.pop(name)
            if first in tensors and not torch.equal(tensors[first], value):
                raise ConversionError(
                    f'{name} differs from {first}, but the language model shares one tensor between the two: '
                    'the checkpoint was trained with another language model'
                )
            tensors[first] = value
    return tensors
