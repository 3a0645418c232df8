"""Adapters on disk, in peft's layout: ``adapter_config.json`` and ``adapter_model.safetensors``.

The weights' file also holds a sketch of what the adapter was trained on, a few numbers of some of the layers below it:
on other weights of the same shape an adapter is noise, and is refused. peft's own files have none and are taken.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from mmgpt.models.adapters import adapted_layers, adapter_parameters, drop_adapter
from mmgpt.models.misfits import misfits, other_shapes, shown

CONFIG, WEIGHTS, SKETCH = 'adapter_config.json', 'adapter_model.safetensors', 'mmgpt_base'
LAYERS, NUMBERS = 8, 16  # how many layers are sketched, and with how many numbers each
TOLERANCE = 0.02  # relative; rounding to bfloat16 stays below 0.004
_PREFIX = 'base_model.model.'  # of names in peft's files

Sketch = dict[str, list[float]]


def save_adapter(model: PreTrainedModel, folder: str | Path, name: str = 'default') -> None:
    """Writes an adapter in peft's layout.

    ``load_adapter`` and ``peft.PeftModel.from_pretrained`` put it on the plain model again.

    Args:
        model: holds the adapter.
        folder: made where it is not there.
        name: of the adapter.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    config = copy.copy(model.peft_config[name])
    config.inference_mode = True  # as peft writes it: whoever loads it to train says so
    config.save_pretrained(folder)
    state = get_peft_model_state_dict(model, adapter_name=name)
    tensors = {_PREFIX + key: value.contiguous() for key, value in state.items()}
    metadata = {'format': 'pt', SKETCH: json.dumps(sketch(model, name))}
    save_file(tensors, Path(folder) / WEIGHTS, metadata=metadata)


def load_adapter(model: PreTrainedModel, folder: str | Path, name: str = 'default', trained: bool = False) -> None:
    """Puts an adapter that ``save_adapter`` or peft wrote on a model. A failure leaves the model as it was.

    ``model.save_pretrained`` then writes the adapter alone, as in transformers; unload it to save the whole model.

    Args:
        model: without an adapter of that name.
        folder: in peft's layout.
        name: the adapter's name in the model.
        trained: whether its parameters are trained further.

    Raises:
        FileNotFoundError: there is no adapter in the folder.
        ValueError: its files are damaged, there is an adapter of that name, the name has a dot, it was begun by chance
            from the weights, or it belongs to another base: other layers, other shapes or other weights; the message
            says which.
    """
    if name in getattr(model, 'peft_config', {}):
        raise ValueError(
            f'the model has an adapter named {name!r} already: choose another name, or delete_adapter first'
        )
    if not name or '.' in name:
        raise ValueError(f'an adapter cannot be named {name!r}: choose a name without dots')
    if not (Path(folder) / CONFIG).is_file() or not (Path(folder) / WEIGHTS).is_file():
        raise FileNotFoundError(f'{folder} holds no adapter: expected {CONFIG} and {WEIGHTS} in it')
    try:
        with safe_open(Path(folder) / WEIGHTS, 'pt') as file:
            state = {key.removeprefix(_PREFIX): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            recorded = json.loads((file.metadata() or {}).get(SKETCH, '{}'))
        config = PeftConfig.from_pretrained(str(folder))
    except (SafetensorError, ValueError, TypeError) as error:
        raise ValueError(f'the adapter in {folder} is damaged: {error}') from error
    if str(begun := getattr(config, 'init_lora_weights', '')).startswith('pissa_niter'):
        raise ValueError(
            f'the adapter in {folder} was begun by init_lora_weights={begun!r}, which took an approximation by chance '
            "out of the base's weights, and no other gives the same: use the whole model (W/hf), or begin with 'pissa'"
        )
    config.inference_mode = not trained
    layers = {path: (layer.active_adapters, layer.disable_adapters) for path, layer in adapted_layers(model)}
    gradients = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        inject_adapter_in_model(config, model, name)
        _check(model, name, state, recorded)
        for path, parameter in adapter_parameters(model) if trained else ():
            if name in path.split('.') and parameter.dtype in (torch.float16, torch.bfloat16):
                parameter.data = parameter.data.float()  # as ``LoRA`` has it: small steps are lost in half precision
        set_peft_model_state_dict(model, state, name)
    except Exception as error:
        if hasattr(model, 'peft_config'):
            drop_adapter(model, name)
            for path, layer in adapted_layers(model):
                active, disabled = layers[path]
                layer.set_adapter(active)
                layer.enable_adapters(not disabled)
            for parameter, wanted in gradients:
                parameter.requires_grad_(wanted)
        if isinstance(error, ValueError):
            raise ValueError(f'the adapter in {folder} was made for another base: {error}') from error
        raise
    for _, layer in adapted_layers(model):
        layer.set_adapter([name], inference_mode=not trained)
    model._hf_peft_config_loaded = True


def active_adapters(model: Any) -> list[str]:
    """The names of the adapters that a model computes with."""
    names = [name for _, layer in adapted_layers(model) if not layer.disable_adapters for name in layer.active_adapters]
    return list(dict.fromkeys(names))


def sketch(model: PreTrainedModel, name: str) -> Sketch:
    """Some numbers of some layers below an adapter: full name -> values, spread evenly over layers and weights.

    Layers that are merged or quantised at the moment are left out, since their numbers are not those of the base.
    """
    layers = [(path, layer) for path, layer in adapted_layers(model) if name in layer._get_available_adapters()]
    found: Sketch = {}
    for path, layer in layers[:: max(1, len(layers) // LAYERS)][:LAYERS]:
        weight = getattr(layer.get_base_layer(), 'weight', None)
        if type(weight) is nn.Parameter and weight.is_floating_point() and not weight.is_meta and not layer.merged:
            flat = weight.detach().reshape(-1)
            places = torch.linspace(0, flat.numel() - 1, NUMBERS, dtype=torch.float64).long()
            found[path] = flat[places.to(flat.device)].float().tolist()
    return found


def _check(model: PreTrainedModel, name: str, state: dict[str, torch.Tensor], recorded: Sketch) -> None:
    """Compares what an adapter brings with what the model expects."""
    expected = get_peft_model_state_dict(model, adapter_name=name)
    faults = misfits(expected.keys() - state.keys(), state.keys() - expected.keys(), other_shapes(state, expected))
    if faults:
        raise ValueError(f'its weights do not fit the model:{shown(faults)}')
    here = sketch(model, name)
    for path in recorded.keys() & here.keys():
        there, ours = torch.tensor(recorded[path]), torch.tensor(here[path])
        if (there - ours).norm() > TOLERANCE * max(there.norm(), ours.norm()):
            raise ValueError(f'the weights of {path} are not those that it was trained on; load it on the model it was')
