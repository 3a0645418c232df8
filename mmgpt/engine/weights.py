"""The model's weights in a checkpoint: a Hugging Face folder that holds again only what was trained.

The frozen tensors of a run never change. Those that equal what they were loaded from, a folder or a model of the hub,
are named in ``references.json`` (``mmgpt.models.sources``); the others go to a file of their own,
``model-frozen.safetensors``, of which later checkpoints hold a hard link. So each save costs what is trained. A
standalone checkpoint refers to nothing.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmgpt.engine.checkpoints import CheckpointError, link_or_copy
from mmgpt.models.loading import SHARDS
from mmgpt.models.misfits import misfits, other_shapes, shown
from mmgpt.models.sources import (
    WHOLE,
    SourceError,
    find_sources,
    read_references,
    referenced_state,
    stored_state,
    unchanged_names,
    write_references,
)

INDEX = 'model.safetensors.index.json'
SINGLE = 'model.safetensors'
FROZEN = 'model-frozen.safetensors'
TRAINED = 'model-trained.safetensors'
FREE = re.compile(r'drop|^init|^mean$|^std$')  # settings of training, new weights and pictures, which a run may change
OF_TEXT = ('num_attention_heads', 'num_key_value_heads', 'head_dim', 'hidden_act', 'activation_function')


def save_weights(model: nn.Module, folder: Path, share: Path | None = None, standalone: bool = False) -> None:
    """Write config and weights with ``model.save_pretrained``, frozen tensors apart.

    Args:
        model: a ``PreTrainedModel``.
        folder: where to write; the folder exists.
        share: an earlier checkpoint of the same run, whose frozen file is linked instead of written.
        standalone: write all tensors, also those that the model's sources hold.
    """
    state = model.state_dict()
    frozen = frozen_names(model, state)
    referenced = {} if standalone else _referenced(model, frozen, share)
    frozen = frozen.difference(*referenced.values())
    if not frozen and not referenced:
        model.save_pretrained(folder)
        return
    left_out = frozen.union(*referenced.values())
    trained = {name: tensor for name, tensor in state.items() if name not in left_out}
    model.save_pretrained(folder, state_dict=trained, max_shard_size='1TB')
    (folder / SINGLE).rename(folder / TRAINED)
    if frozen and share and _covers(share / FROZEN, state, frozen):
        link_or_copy(share / FROZEN, folder / FROZEN)
    elif frozen:
        scratch = folder / 'frozen'
        model.save_pretrained(scratch, state_dict={k: v for k, v in state.items() if k in frozen}, max_shard_size='1TB')
        (scratch / SINGLE).rename(folder / FROZEN)
        shutil.rmtree(scratch)
    if referenced:
        write_references(folder, model, referenced)
    files = {file: _names(folder / file) for file in (FROZEN, TRAINED) if (folder / file).is_file()}
    size = sum((folder / file).stat().st_size for file in files)
    weight_map = {name: file for file, names in files.items() for name in names}
    index = {'metadata': {'total_size': size}, 'weight_map': weight_map}
    (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True))


def save_whole(model: nn.Module, folder: Path, max_shard_size: str | int = '5GB') -> None:
    """Write a folder that holds everything; of an adapted model, the plain model that it amounts to.

    Args:
        model: a ``PreTrainedModel``, which stays as it is.
        folder: where to write; the folder exists.
        max_shard_size: of a weight file, in bytes or as ``'5GB'``.
    """
    if not has_adapter(model):
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        return
    from mmgpt.models.adapters import merged_state_dict  # here, since peft is slow to import

    model.save_pretrained(folder, state_dict=merged_state_dict(model), max_shard_size=max_shard_size)
    config = copy.deepcopy(model.config)
    config.adapter = None
    config.save_pretrained(folder)


def save_own_adapter(model: nn.Module, folder: Path) -> None:
    """Write the adapter of the model's config in peft's layout."""
    from mmgpt.models.adapter_files import save_adapter

    save_adapter(model, folder, model.config.adapter.get('name', 'default'))


def has_adapter(model: nn.Module) -> bool:
    """Whether the model's config puts an adapter on it."""
    return getattr(model.config, 'adapter', None) is not None


def frozen_names(model: nn.Module, state: dict[str, Tensor]) -> set[str]:
    """The entries of the model's state that training does not change.

    They are the parameters without gradient that stand in the state as they are: an embedding whose new rows are
    trained apart and folded in is none of them.
    """
    frozen = {n: p for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad}
    return {n for n, p in frozen.items() if n in state and state[n].data_ptr() == p.data_ptr()}


def _referenced(model: nn.Module, frozen: set[str], share: Path | None) -> dict[str, list[str]]:
    """Part -> the frozen tensors that a checkpoint may leave to its source.

    The first checkpoint of a run compares them with the source, tensor by tensor; later ones rely on that.
    """
    compared = read_references(share) if share else {}
    found = {}
    for part in getattr(model, 'sources', {}):
        names = sorted(frozen if part == WHOLE else [name for name in frozen if name.startswith(f'{part}.')])
        known = compared.get(part, {}).get('tensors')
        if names := unchanged_names(model, part, names) if known is None else sorted({*names} & {*known}):
            found[part] = names
    return found


def load_weights(model: nn.Module, folder: Path, start: bool = False) -> None:
    """Read the weights of a Hugging Face folder into the model, in place and strictly.

    An adapted model also takes the weights of a plain one; its adapters then start anew on them.

    Args:
        model: a ``PreTrainedModel``.
        folder: in the layout of a checkpoint.
        start: the folder is of another run, or converted, and its tokenizer may have fewer added tokens or more: rows
            of embedding and head that it lacks stay the model's, rows beyond are left out.

    Raises:
        CheckpointError: when tensors are missing, unexpected or of another shape, or towers that the folder refers to
            are not there or have changed; the message lists them. With ``start``, also when ``<image>`` has another id,
            or the folder's configuration says something else of a part.
    """
    try:
        sources = find_sources(folder, getattr(model, 'sources', None))
        referenced = referenced_state(folder, model.config, sources)
    except SourceError as error:
        raise CheckpointError(str(error)) from error
    state = read_weights(folder) | referenced
    own, settings = model.state_dict(), []
    if start:
        _require_same_mark(model, folder)
        settings = _other_settings(model, folder)
        state = _with_own_rows(state, own, model)
    fresh = has_adapter(model) and _lacks_adapter(state)
    if fresh:
        from mmgpt.models.adapters import adapted_names, adapter_parameters, restart_adapters

        state = adapted_names(state, model)
        for name, _ in adapter_parameters(model):
            del own[name]
    storage = {tensor.data_ptr() for name, tensor in own.items() if name in state}
    missing = [n for n, t in own.items() if n not in state and t.data_ptr() not in storage]  # tied ones are there
    if faults := misfits(missing, state.keys() - own.keys(), other_shapes(state, own)) + settings:
        raise CheckpointError(
            f'{folder} does not fit the model of this config:{shown(faults)}\n'
            'Use the config that the checkpoint was trained with.'
        )
    same = {
        name for name in referenced if name in own and torch.equal(own[name].cpu(), state[name].to(own[name].dtype))
    }
    model.load_state_dict({name: value for name, value in state.items() if name not in same}, strict=False)
    if sources:
        model.sources = sources
    if fresh:
        restart_adapters(model)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors that a folder holds itself, memory-mapped.

    Raises:
        CheckpointError: when the folder holds no weights.
    """
    if (folder / SHARDS).is_dir():
        raise CheckpointError(
            f'{folder} is a checkpoint in shards; make a model folder of it: '
            f'python tools/convert.py consolidate {folder} --out DIR'
        )
    if not (state := stored_state(folder)):
        raise CheckpointError(f'{folder} holds no weights: expected {SINGLE} or {INDEX} in it')
    return state


def _with_own_rows(state: dict[str, Tensor], own: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a folder, those with a row for each token with as many rows as the model's own."""
    modules = (model.get_input_embeddings(), model.get_output_embeddings())
    parameters = {id(parameter) for module in modules for parameter in module.parameters()}
    names = [name for name, p in model.named_parameters(remove_duplicate=False) if id(p) in parameters]
    fitted = dict(state)
    for name in names:
        if name in state and len(state[name]) != len(own[name]) and state[name].shape[1:] == own[name].shape[1:]:
            count = min(len(state[name]), len(own[name]))
            fitted[name] = torch.cat([state[name][:count].to(own[name]), own[name][count:]])
    return fitted


def _require_same_mark(model: nn.Module, folder: Path) -> None:
    theirs = json.loads((folder / 'config.json').read_text(encoding='utf-8')).get('media_token_id')
    ours = model.config.media_token_id
    if theirs != ours:
        raise CheckpointError(
            f'<image> has the id {theirs} in {folder}, with the tokenizer of this config {ours}: '
            'name the tokenizer that the folder was made with (tokenizer.path), or the folder itself'
        )


def _other_settings(model: nn.Module, folder: Path) -> list[str]:
    """What both configurations say of a part, and otherwise: heads and activations change no shape, but all values."""
    configs = (model.config, type(model.config).from_pretrained(folder))
    ours, theirs = (json.loads(config.to_json_string(use_diff=False)) for config in configs)
    for config in (ours, theirs):
        config['text_config'] = {name: config['text_config'][name] for name in OF_TEXT if name in config['text_config']}
    parts = ('vision_encoder', 'resampler', 'cross_attention', 'text_config')
    return [line for part in parts for line in _differing(ours[part], theirs[part], part)]


def _differing(ours: Any, theirs: Any, name: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() & theirs.keys()):
            if not FREE.search(key):
                yield from _differing(ours[key], theirs[key], f'{name}.{key}')
    elif ours != theirs and not isinstance(ours, dict) and not isinstance(theirs, dict):
        yield f'{name}: {theirs!r} in the file, {ours!r} in the model'


def _lacks_adapter(state: dict[str, Tensor]) -> bool:
    """Whether the weights are those of a plain model."""
    return not any('.base_layer.' in name for name in state)


def _names(path: Path) -> list[str]:
    """The tensors of a safetensors file, from its header."""
    with path.open('rb') as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), 'little')))
    return [name for name in header if name != '__metadata__']


def _covers(path: Path, state: dict[str, Tensor], frozen: set[str]) -> bool:
    """Whether a frozen file holds just the frozen tensors, each once or through the name it is tied to."""
    names = set(_names(path)) if path.is_file() else set()
    storage = {state[name].data_ptr() for name in names & frozen}
    return names <= frozen and all(state[name].data_ptr() in storage for name in frozen)
