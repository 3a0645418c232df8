"""Otter's folders as its own code saved them, and the files of its training, which hold the trained tensors only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mmgpt.data.templates import Otter
from mmgpt.hub.convert.assemble import (
    beneath,
    built,
    cross_attention_config,
    renamed,
    resampler_config,
    spacing,
    with_rows,
)
from mmgpt.hub.convert.files import has_whole_weights, read_folder, read_json, read_state, require_absent
from mmgpt.hub.convert.layouts import OTTER, Renamer
from mmgpt.hub.convert.parts import (
    CLIP_ARGUMENTS,
    LanguageModel,
    language_model_of_config,
    load_language_model,
    load_tokenizer,
    load_vision_tower,
)
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.convert.result import dtype_of, token_ids, write
from mmgpt.models.config import FlamingoConfig

FAMILIES = {'LlamaForCausalLM': 'llama', 'MPTForCausalLM': 'mpt', 'MptForCausalLM': 'mpt'}  # text_config.architectures
TRAINED = ('final_weights.pt', 'checkpoint_*.pt')  # what training leaves beside config.json, best first
MPT_AS_HERE = {  # settings of MPT that transformers' class ignores -> what it takes for granted
    'alibi': True,
    'qk_ln': False,
    'prefix_lm': False,
    'attn_type': 'multihead_attention',
}


class Files(NamedTuple):
    """What an Otter checkpoint consists of on disk."""

    settings: dict[str, Any]  # config.json
    state: dict[str, Tensor]
    folder: Path
    whole: bool  # the frozen tensors are in the state too


def convert(
    folder: str,
    out: str,
    tokenizer: str | None = None,
    base: str | None = None,
    language_model: str | None = None,
    vision_model: str | None = None,
    dtype: str | None = None,
) -> Report:
    """Converts an Otter (arXiv 2305.03726) in its published layout to a model folder.

    Args:
        folder: with ``config.json`` and ``pytorch_model.bin`` or safetensors, whole or in shards; or a file of its
            training (``final_weights.pt``, ``checkpoint_*.pt``) or the folder that holds only such a one. A file of
            training lacks what was frozen: that comes from the whole weights beside it, else from ``base``, else from
            ``language_model`` and ``vision_model``.
        out: the folder to write; must not exist.
        tokenizer: folder or hub id. Default: the folder's own, else the one its ``config.json`` names.
        base: a folder in the same layout with the whole weights that the training began with; a folder that has whole
            weights itself needs none, and they count.
        language_model: folder or hub id. Default: what ``config.json`` names.
        vision_model: as ``load_vision_tower`` takes it. Default: CLIP ViT-L/14, which Otter was trained with.
        dtype: of the result. Default: the widest of the inputs.

    Raises:
        OSError: an input is not there, or ``out`` is.
        ConversionError: the checkpoint is damaged or is not what its ``config.json`` says.
    """
    require_absent(out)
    files = _find(Path(folder), base)
    text, vision = (files.settings.get(name) or {} for name in ('text_config', 'vision_config'))
    report = Report()
    lm = language_model_of_config(_text_arguments(text))
    tensors = renamed(files.state, Renamer(OTTER, lm.layers), report)
    sources: list[Mapping[str, Tensor]] = []
    embedding = tensors.get(f'language_model.{lm.embedding}')
    if embedding is None:
        raise ConversionError(f'{files.folder} lacks the input embedding lang_encoder.{lm.embedding}')
    if not files.whole and not any(name.startswith(f'language_model.{lm.layers}.') for name in tensors):
        frozen = load_language_model(language_model or _named(text, '--base or --language-model'))
        _same_family(frozen, lm)
        sources.append(beneath(frozen, tensors))
    encoder = {'type': 'ClipVision', 'config': {key: vision[key] for key in CLIP_ARGUMENTS if key in vision}}
    if not files.whole and not any(name.startswith('vision_encoder.') for name in tensors):
        tower = load_vision_tower(vision_model or vision.get('_name_or_path') or 'openai/clip-vit-large-patch14', False)
        encoder = tower.config
        sources.append(tower.tensors)
    template = Otter(spacing='spaced')
    words = load_tokenizer(tokenizer or _tokenizer_of(files.folder, text), template)
    rows = lm.config.vocab_size = max(len(embedding), len(words))
    sources = [with_rows(source, lm, rows, report) for source in (*sources, tensors)]
    count = lm.config.num_hidden_layers
    every = spacing(tensors, count, files.settings.get('cross_attn_every_n_layers'))
    config = FlamingoConfig(
        vision_encoder=encoder,
        resampler={**resampler_config(tensors), 'max_frames': files.settings.get('max_num_frames')},
        text_config=lm.config,
        cross_attention=cross_attention_config(tensors, every - 1),
        cross_attn_every_n_layers=every,
        attend='previous',
        without_media='zero_attention',
        media_token_id=token_ids(words, template, len(embedding), report)[template.media_token],
    )
    return write(out, built(config, sources, report, dtype_of(dtype)), words, template, report)


def _find(path: Path, base: str | None) -> Files:
    """Reads a folder, or a file of training over the whole weights that it belongs to."""
    if path.is_file():
        folder, trained = path.parent, path
    else:
        folder = path
        trained = None if has_whole_weights(folder) else _newest_trained(folder)
    if base is not None and not has_whole_weights(base):
        raise FileNotFoundError(f'{base} holds no whole weights: expected an Otter folder with pytorch_model.bin')
    places = (folder,) if trained is None or base is None else (base,)
    whole = next((place for place in places if has_whole_weights(place)), None)
    described = folder if whole is None or (folder / 'config.json').is_file() else Path(whole)
    settings = read_json(described / 'config.json')
    if settings.get('model_type') not in (None, 'otter', 'flamingo'):
        raise ConversionError(f'{folder} holds a {settings["model_type"]!r} model, expected an Otter')
    state = {} if whole is None else read_folder(whole)
    if trained is not None:
        state |= read_state(trained)
    return Files(settings, state, folder, whole is not None)


def _newest_trained(folder: Path) -> Path:
    """The file of training in a folder without whole weights: the final one, else that of the last step."""
    for pattern in TRAINED:
        if found := sorted(folder.glob(pattern), key=lambda file: [int(n) for n in re.findall(r'\d+', file.name)]):
            return found[-1]
    raise FileNotFoundError(
        f'{folder} holds no weights: expected pytorch_model.bin or model.safetensors, whole or in shards, or '
        f'{" or ".join(TRAINED)}'
    )


def _text_arguments(text: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the language model's configuration, ``model_type`` included.

    Raises:
        ConversionError: a family that transformers does not have, or an MPT unlike transformers' own.
    """
    architecture = (text.get('architectures') or [''])[0]
    family = FAMILIES.get(architecture)
    if not architecture:  # as the published code tells them apart
        family = 'llama' if 'llama' in (text.get('_name_or_path') or '').lower() else text.get('model_type')
    if family not in FAMILIES.values():
        raise ConversionError(
            f'text_config is of the architecture {architecture or family!r}, of which transformers has no class: '
            f'expected one of {", ".join(FAMILIES)}'
        )
    attention = text.get('attn_config') or {}
    for name, value in MPT_AS_HERE.items() if family == 'mpt' else ():
        if attention.get(name, value) != value:
            raise ConversionError(
                f'text_config.attn_config has {name}={attention[name]!r}, transformers only {value!r}'
            )
    return {**text, 'model_type': family}


def _same_family(given: LanguageModel, expected: LanguageModel) -> None:
    """Raises where a language model is not the one that ``text_config`` describes."""
    for name in ('model_type', 'num_hidden_layers', 'hidden_size'):
        ours, theirs = (getattr(lm.config, name) for lm in (given, expected))
        if ours != theirs:
            raise ConversionError(f'the language model given has {name}={ours!r}, config.json says {theirs!r}')


def _tokenizer_of(folder: Path, text: dict[str, Any]) -> str:
    for place in (folder, folder / 'tokenizer'):
        if any((place / name).is_file() for name in ('tokenizer.json', 'tokenizer.model', 'tokenizer_config.json')):
            return str(place)
    return _named(text, '--tokenizer')


def _named(text: dict[str, Any], option: str) -> str:
    """The language model that ``text_config`` names."""
    name = text.get('_name_or_path')
    if not name:
        raise FileNotFoundError(f'config.json names no language model in text_config._name_or_path: give {option}')
    return name
