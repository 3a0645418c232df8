"""Model folders back into the published layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import save_file
from torch import Tensor

from mmgpt.hub.convert.assemble import HEAD_WIDTH
from mmgpt.hub.convert.clip import hugging_face_config, hugging_face_tensors
from mmgpt.hub.convert.files import new_path, require_absent
from mmgpt.hub.convert.layouts import OPEN_FLAMINGO, OTTER, Layout, Renamer
from mmgpt.hub.convert.parts import LanguageModel
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.io import load_folder
from mmgpt.models.flamingo import Flamingo
from mmgpt.models.vision_encoders import ClipVision, OpenClipVision

ARCHITECTURES = {'llama': 'LlamaForCausalLM', 'mpt': 'MPTForCausalLM'}  # as Otter's code names them


def export_openflamingo(folder: str, out: str) -> Report:
    """Writes what OpenFlamingo's releases hold: resampler, gated blocks, input embedding, and the head if it is apart.

    Language model and vision tower are not in that layout, nor which image text sees.

    Args:
        folder: a model folder.
        out: the file to write, ``.pt``, or ``.safetensors``; must not exist.

    Raises:
        OSError: there is no such folder, or ``out`` exists.
        ConversionError: the model has parts that the layout has no place for.
    """
    require_absent(out)
    model, _ = load_folder(folder, device='cpu')
    _check(model, OPEN_FLAMINGO)
    rows = {f'language_model.{name}' for name in LanguageModel.of(model.language_model).rows}
    kept = {
        name: value
        for name, value in _distinct(model).items()
        if name in rows or name.startswith(('resampler.', 'gated_blocks.'))
    }
    state = _published(kept, Renamer(OPEN_FLAMINGO, model.decoder.layers_name))
    with new_path(out) as file:
        if Path(out).suffix == '.safetensors':
            save_file(state, file, metadata={'format': 'pt'})
        else:
            torch.save(state, file)
    left = 'language model and vision tower are not in this layout: what was trained or merged into them stays behind'
    return Report(loaded=sorted(kept), notes=[f'{len(state)} tensors in {out}', left])


def export_otter(folder: str, out: str) -> Report:
    """Writes an Otter folder as its own code and the releases have it: ``config.json``, all weights, the tokenizer.

    Args:
        folder: a model folder whose vision encoder is a CLIP of Hugging Face or a vision transformer of open_clip.
        out: the folder to write; must not exist.

    Raises:
        OSError: there is no such folder, or ``out`` exists.
        ConversionError: the model has parts that the layout has no place for.
    """
    require_absent(out)
    model, processor = load_folder(folder, device='cpu')
    _check(model, OTTER)
    config = model.config
    if config.attend != 'previous' or config.without_media != 'zero_attention':
        raise ConversionError(
            "Otter's code has attend='previous' and without_media='zero_attention' built in, the model has "
            f'{config.attend!r} and {config.without_media!r}: it would answer differently there'
        )
    if config.text_config.model_type not in ARCHITECTURES:
        raise ConversionError(
            f"Otter's layout holds a language model of {', '.join(ARCHITECTURES)}, the model has one of "
            f'{config.text_config.model_type}'
        )
    if model.vision_encoder.normalize_patches:
        raise ConversionError("Otter's code takes the patches before the final LayerNorm, the model after it")
    tensors = _distinct(model)
    if isinstance(model.vision_encoder, OpenClipVision):
        rest = {name: value for name, value in tensors.items() if not name.startswith('vision_encoder.')}
        tower = hugging_face_tensors(model.vision_encoder.tower)
        tensors = rest | {f'vision_encoder.tower.{name}': value for name, value in tower.items()}
    elif not isinstance(model.vision_encoder, ClipVision):
        raise ConversionError(f"Otter's layout holds a CLIP, the model has a {config.vision_encoder['type']}")
    state = _published(tensors, Renamer(OTTER, model.decoder.layers_name))
    with new_path(out) as place:
        place.mkdir()
        save_torch_state_dict(state, place, metadata={'format': 'pt'})
        (place / 'config.json').write_text(json.dumps(_otter_config(model), indent=2, sort_keys=True) + '\n')
        model.generation_config.save_pretrained(place)
        processor.tokenizer.save_pretrained(place)
        report = Report(loaded=sorted(tensors), notes=[f'{len(state)} tensors in {out}'])
        report.save(place)
    return report


def _otter_config(model: Flamingo) -> dict[str, Any]:
    text, tower = model.config.text_config, model.vision_encoder.tower
    vision = hugging_face_config(tower) if isinstance(model.vision_encoder, OpenClipVision) else tower.config
    fields = text.to_dict()
    if rope := fields.pop('rope_parameters', None):  # the published code looks for it under its older names
        kind = rope.pop('rope_type', 'default')
        fields |= {'rope_theta': rope.pop('rope_theta'), 'rope_scaling': {'type': kind, **rope}}
        fields |= {'rope_scaling': None} if kind == 'default' else {}
    return {
        'model_type': 'otter',
        'architectures': ['OtterForConditionalGeneration'],
        'cross_attn_every_n_layers': model.config.cross_attn_every_n_layers,
        'max_num_frames': model.config.resampler.get('max_frames'),
        'only_attend_previous': True,
        'text_config': {**fields, 'architectures': [ARCHITECTURES[text.model_type]]},
        'vision_config': vision.to_dict(),
        'torch_dtype': str(model.dtype).removeprefix('torch.'),
    }


def _check(model: Flamingo, layout: Layout) -> None:
    """Raises for a model that its published code could not rebuild."""
    config = model.config
    if config.adapter is not None:
        raise ConversionError(f"{layout.name}'s layout has no place for an adapter: convert with --merge first")
    kinds = (config.resampler['type'], config.cross_attention['type'])
    if kinds != ('PerceiverResampler', 'GatedCrossAttention'):
        raise ConversionError(f'{layout.name} has a PerceiverResampler and GatedCrossAttention, the model {kinds}')
    first, expected = config.cross_attn_first_layer, config.cross_attn_every_n_layers - 1
    if first not in (None, expected):
        raise ConversionError(f'{layout.name} has its first gated block before layer {expected}, the model {first}')
    if config.resampler.get('activation', 'gelu') != 'gelu' or config.resampler.get('head_norms'):
        raise ConversionError(f"{layout.name}'s resampler has GELU and no norms of heads, the model {config.resampler}")
    for part in (config.resampler, config.cross_attention):
        if part.get('head_width', HEAD_WIDTH) != HEAD_WIDTH:
            raise ConversionError(
                f'{layout.name} has attention heads of {HEAD_WIDTH}, the model of {part["head_width"]}: its code would '
                'share the same weights out among other heads'
            )


def _distinct(model: Flamingo) -> dict[str, Tensor]:
    """The tensors of a model, a shared one under its first name only."""
    names = {name for name, _ in model.named_parameters()} | {name for name, _ in model.named_buffers()}
    return {name: value for name, value in model.state_dict().items() if name in names}


def _published(tensors: dict[str, Tensor], names: Renamer) -> dict[str, Tensor]:
    if left := sorted(name for name in tensors if names.theirs(name) is None):
        raise ConversionError(f'the layout has no place for {", ".join(left[:5])}')
    return {names.theirs(name): value.contiguous() for name, value in tensors.items()}
