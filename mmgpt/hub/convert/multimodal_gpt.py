"""MultiModal-GPT's files: low-rank adapters on an OpenFlamingo, with the settings they were trained with."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from mmgpt.data.templates import MultiModalGPT
from mmgpt.hub.convert.assemble import renamed
from mmgpt.hub.convert.files import read_file, require_absent, tensors_of
from mmgpt.hub.convert.layouts import OPEN_FLAMINGO, Renamer
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.convert.result import dtype_of, write
from mmgpt.hub.io import load_folder
from mmgpt.models.adapters import SLOTS, LoRA, adapted_names, linear_layers, name_inside, unload_adapters
from mmgpt.models.flamingo import Flamingo
from mmgpt.models.misfits import misfits, other_shapes, shown

SETTINGS = 'tuning_config'  # also the name one deeper, in files of training
PUBLISHED_ALPHA = 16
WRAPPED = re.compile(r'^(?:lang_encoder\.)?base_model\.model\.')  # what peft puts in front of the names it wraps
MATRIX = re.compile(r'(.+)\.lora_(A|B)(?:\.[^.]+)?\.weight')


class Settings(NamedTuple):
    """How the adapter was trained."""

    r: int | None
    alpha: float
    dropout: float
    assumed: str | None  # what the file does not say


def convert(
    lora_file: str,
    base: str,
    out: str,
    attend: str = 'next',
    merge: bool = False,
    lora_alpha: float | None = None,
    dtype: str | None = None,
) -> Report:
    """Converts an adapter of MultiModal-GPT (arXiv 2305.04790) and its base to a model folder.

    Args:
        lora_file: the release or a file of its training.
        base: the model folder of the OpenFlamingo it was trained on, as ``openflamingo.convert`` makes it.
        out: the folder to write; must not exist.
        attend: which image text sees. Default ``'next'``, as in the published code, with which the text after the last
            image sees none.
        merge: add the adapter into the weights instead of keeping it beside them.
        lora_alpha: where the file does not tell it. Default: 16, as published.
        dtype: of the result. Default: the base's.

    Raises:
        OSError: an input is not there, or ``out`` is.
        ConversionError: the file is damaged, holds code, or belongs to another base.
    """
    require_absent(out)
    content = read_file(lora_file)
    settings = read_settings(content, lora_alpha)
    model, processor = load_folder(base, device='cpu', dtype=dtype_of(dtype) or 'auto')
    if model.config.adapter is not None:
        raise ConversionError(
            f'{base} has an adapter already: convert onto the model folder of the OpenFlamingo itself'
        )
    report = Report(notes=[settings.assumed] if settings.assumed else [])
    published = {_unwrapped(name): value for name, value in tensors_of(content, lora_file).items()}
    tensors = renamed(published, Renamer(OPEN_FLAMINGO, model.decoder.layers_name), report)
    inject(model, tensors, settings, report)
    model.config.attend, model.config.without_media = attend, 'skip'
    if merge:
        unload_adapters(model)
    return write(out, model, processor.tokenizer, MultiModalGPT(), report)


def _unwrapped(name: str) -> str:
    """The name that a tensor has in an OpenFlamingo without peft around its language model or its layers."""
    name = name.replace('.base_layer.', '.')
    return 'lang_encoder.' + WRAPPED.sub('', name) if WRAPPED.match(name) else name


def read_settings(content: Any, alpha: float | None = None) -> Settings:
    """The settings in a file: a dict or a config object, perhaps one deeper, or none at all.

    Args:
        content: as ``read_file`` gives it.
        alpha: taken where the file does not say.

    Raises:
        ConversionError: settings that cannot be read.
    """
    found = content.get(SETTINGS) if isinstance(content, dict) else None
    found = {} if found is None else found
    while isinstance(found, dict):
        fields = {**vars(found), **found} if hasattr(found, '__dict__') else found  # an inert record of an object
        if not isinstance(fields.get(SETTINGS), dict):
            break
        found = fields[SETTINGS]
    if not isinstance(found, dict) or fields.get('lora') is False:
        raise ConversionError(f'{SETTINGS} should hold the settings of a LoRA adapter, it holds {found!r:.200}')
    told, assumed = fields.get('lora_alpha'), None
    if told is None:
        told = PUBLISHED_ALPHA if alpha is None else alpha
        assumed = f'the file does not tell lora_alpha: {told} is taken'
    return Settings(fields.get('lora_r'), told, float(fields.get('lora_dropout') or 0), assumed)


def inject(model: Flamingo, tensors: Mapping[str, Tensor], settings: Settings, report: Report) -> None:
    """Puts the adapter of ``tensors`` (by our names) on ``model``; plain tensors among them replace the model's.

    Raises:
        ConversionError: tensors that have no place in this model, or are missing for one of its layers.
    """
    matrices: dict[str, dict[str, Tensor]] = defaultdict(dict)
    plain = {}
    for name, value in tensors.items():
        if match := MATRIX.fullmatch(name):
            matrices[match[1]][match[2]] = value
        else:
            plain[name] = value
    if not matrices:
        raise ConversionError('the file holds no LoRA matrices (lora_A, lora_B)')
    ranks = {module: len(pair['A']) for module, pair in matrices.items() if 'A' in pair}
    if settings.r is not None and set(ranks.values()) - {settings.r}:
        raise ConversionError(f'the settings say lora_r={settings.r}, the matrices are of rank {set(ranks.values())}')
    slots = _slots(model, ranks, settings.alpha)
    lora = {'type': 'LoRA', 'slots': slots, 'r': max(ranks.values()), 'alpha': settings.alpha}
    model.config.adapter = {**lora, 'dropout': settings.dropout}
    LoRA(**{key: value for key, value in model.config.adapter.items() if key != 'type'}).inject(model)
    state = {f'{m}.lora_{kind}.default.weight': v for m, pair in matrices.items() for kind, v in pair.items()}
    state |= adapted_names(plain, model)
    own = model.state_dict()
    report.missing += sorted(name for name in own.keys() - state.keys() if '.lora_' in name)
    report.unexpected += sorted(state.keys() - own.keys())
    if faults := misfits(report.missing, report.unexpected, other_shapes(state, own)):
        raise ConversionError(f'the adapter does not fit the base, it was trained on another one:{shown(faults)}')
    model.load_state_dict(state, strict=False)


def _slots(model: Flamingo, ranks: Mapping[str, int], alpha: float) -> dict[str, dict[str, Any]]:
    """The slots that the adapted layers are in, with the layers where they are not all of a slot.

    Raises:
        ConversionError: a layer that is in no slot of this model, or ranks that differ within a slot.
    """
    slots: dict[str, dict[str, Any]] = {}
    left = set(ranks)
    for slot in SLOTS:
        names = linear_layers(model, slot)
        used = [name for name in names if name in left]
        if not used:
            continue
        left -= set(used)
        if len(found := {ranks[name] for name in used}) > 1:
            raise ConversionError(f'the layers of the slot {slot!r} differ in rank ({sorted(found)}): not supported')
        layers = sorted({name_inside(name, model) for name in used})
        slots[slot] = {'r': found.pop(), 'alpha': alpha}
        if len(layers) < len({name_inside(name, model) for name in names}):
            slots[slot]['layers'] = layers
    if left:
        raise ConversionError(
            f'the adapter is of another base, this one does not have the layers it sits on:{shown(sorted(left))}'
        )
    return slots
