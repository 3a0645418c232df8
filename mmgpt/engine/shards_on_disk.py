"""Tensors on disk as the processes hold them: each writes its own parts, any number of processes reads them.

The files are safetensors by torch.distributed.checkpoint, in two folders of a checkpoint:

========================= ====================================================================================
``training/shards``       ``model.{name}`` of what is trained, ``optimizer.{entry}/{name}``, ``gradients.{name}``
``training/frozen``       ``model.{name}`` of the rest; written once a run, hard links in later checkpoints
========================= ====================================================================================

``training/new_tokens.json`` holds the ids of added tokens whose embedding rows are trained apart, where they are.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.dist import get_world_size
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from mmgpt.engine.checkpoints import CheckpointError
from mmgpt.models.loading import SHARDS
from mmgpt.models.misfits import misfits, shown
from mmgpt.models.new_tokens import CHILD

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

FROZEN = Path('training') / 'frozen'
# what torch says of one process, which is no fault
warnings.filterwarnings('ignore', message='torch.distributed is disabled, unavailable or uninitialized')
NEW_TOKENS = Path('training') / 'new_tokens.json'


def is_sharded(folder: Path) -> bool:
    """Whether a checkpoint holds its tensors in parts."""
    return (Path(folder) / SHARDS).is_dir()


def start_writing(tensors: Mapping[str, Tensor], folder: Path, group: ProcessGroup | None) -> Future:
    """Copy the tensors and write the copies in the background; collective.

    Args:
        tensors: each process's, of the same names; a ``DTensor`` is written by all that hold it, another tensor by one.
        folder: which exists.
        group: a group of the CPU's that nothing else uses; None on one process.

    Returns:
        what is done when all processes have written theirs.
    """
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    copied = {name: tensor.detach() for name, tensor in tensors.items()}
    return dcp.async_save(copied, storage_writer=writer, process_group=group, no_dist=get_world_size() == 1)


def stored_sizes(folder: Path) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shape and dtype of each tensor of a folder of shards."""
    metadata = HuggingFaceStorageReader(str(folder)).read_metadata()
    return {name: (entry.size, entry.properties.dtype) for name, entry in metadata.state_dict_metadata.items()}


def read_into(tensors: Mapping[str, Tensor], folder: Path, alone: bool = False) -> None:
    """Read tensors in place, each process its parts; collective.

    Args:
        tensors: to fill, by name.
        folder: of shards.
        alone: this process reads for itself.

    Raises:
        CheckpointError: a tensor is not there, or has another shape.
    """
    if not tensors:
        return
    stored = stored_sizes(folder)
    shapes = [(n, stored[n][0], t.shape) for n, t in tensors.items() if n in stored and stored[n][0] != t.shape]
    if faults := misfits(tensors.keys() - stored.keys(), (), shapes):
        raise CheckpointError(f'{folder} does not fit the model of this config:{shown(faults)}')
    reader = HuggingFaceStorageReader(str(folder))
    dcp.load(dict(tensors), storage_reader=reader, no_dist=alone or get_world_size() == 1)


def read_whole(folder: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors whose names begin with ``prefix``, whole, without it."""
    stored = {name: kind for name, kind in stored_sizes(folder).items() if name.startswith(prefix)}
    tensors = {name: torch.empty(size, dtype=dtype) for name, (size, dtype) in stored.items()}
    read_into(tensors, folder, alone=True)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def model_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The model's parameters under their names in shards: those that are trained, and the others."""
    trained, frozen = {}, {}
    for name, parameter in model.named_parameters():
        (trained if parameter.requires_grad else frozen)[f'model.{name}'] = parameter.detach()
    return trained, frozen


def read_model(model: nn.Module, folder: Path, alone: bool = False) -> None:
    """Read a checkpoint's parameters into a model; collective.

    Args:
        model: the one of the config that the checkpoint was trained with.
        folder: the checkpoint.
        alone: this process reads for itself.

    Raises:
        CheckpointError: parameters are missing, unexpected or of another shape.
    """
    parts = {part: stored_sizes(folder / part) for part in (SHARDS, FROZEN) if (folder / part).is_dir()}
    trained, frozen = model_tensors(model)
    own = trained | frozen
    stored = {name for names in parts.values() for name in names if name.startswith('model.')}
    if faults := misfits((), stored - own.keys()):
        raise CheckpointError(f'{folder} does not fit the model of this config:{shown(faults)}')
    read_into(
        {name: tensor for name, tensor in own.items() if name not in parts.get(FROZEN, {})}, folder / SHARDS, alone
    )
    if FROZEN in parts:
        read_into({name: own[name] for name in parts[FROZEN]}, folder / FROZEN, alone)


def write_new_tokens(model: nn.Module, folder: Path) -> None:
    """Note which added tokens' rows are trained apart."""
    if (added := getattr(model, CHILD, None)) is not None:
        (folder / NEW_TOKENS).write_text(json.dumps(added.ids.tolist()))
