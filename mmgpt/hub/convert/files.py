"""Reads the weights of torch and safetensors files without running anything that is in them."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from mmgpt.hub.convert.report import ConversionError

WRAPPERS = ('model_state_dict', 'state_dict', 'model', 'module')  # under which training files keep the weights
LFS = b'version https://git-lfs.github.com/'  # begins what a clone without git-lfs has instead of a file
WRAPPED = re.compile(r'(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')  # torch's, anywhere
FOLDER_FILES = ('model.safetensors', 'pytorch_model.bin')  # each may be split, with an index beside it


class InertMapping:
    """Stands for a class of mappings that a file names: making one gives a plain ``OrderedDict``.

    The fields of an object become attributes of that ``OrderedDict``.
    """

    def __new__(cls, *arguments: Any) -> OrderedDict:
        """Takes what a mapping is made of: nothing, or a dict."""
        if len(arguments) > 1 or not all(isinstance(argument, dict) for argument in arguments):
            raise pickle.UnpicklingError(f'it calls {cls.__name__} with {arguments!r:.100}')
        return OrderedDict(*arguments)


class InertObject(dict):
    """Stands for a class that keeps its state as a tuple, such as MMEngine's ``Config``: the mappings in it, merged."""

    def __new__(cls, *arguments: Any) -> Any:
        """As ``InertMapping``, but nothing gives an object that waits for its state."""
        return InertMapping.__new__(cls, *arguments) if arguments else super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Keeps the mappings of the state."""
        for part in state if isinstance(state, tuple) else (state,):
            self.update(part if isinstance(part, dict) else {})


def read_file(path: str | Path) -> dict[str, Any]:
    """What a ``.safetensors`` or torch file holds, on the CPU and memory-mapped where its format allows.

    Objects of classes that torch does not take for safe become inert records of their fields: nothing is imported or
    called for them.

    Raises:
        FileNotFoundError: there is no such file.
        ConversionError: it is damaged, only a pointer of git-lfs, or holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}')
    with path.open('rb') as file:
        if file.read(len(LFS)) == LFS:
            raise ConversionError(f'{path} is a pointer of git-lfs, not the file itself: fetch it (git lfs pull)')
    try:
        return load_file(path) if path.suffix == '.safetensors' else _read_torch(path)
    except pickle.UnpicklingError as error:
        raise ConversionError(
            f'{path} was refused, and nothing in it was run: it holds more than tensors and settings, or is no file '
            f'of torch ({refusal(error)})'
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError(f'{path} is damaged, fetch it again: {error!s:.300}') from None


def _read_torch(path: Path) -> Any:
    zipped = zipfile.is_zipfile(path)
    with path.open('rb') as file:
        if file.read(2) == b'PK' and not zipped:
            raise EOFError('it is cut off, the directory at its end is not there')
    classes = get_unsafe_globals_in_checkpoint(path) if zipped else []
    for kind in (InertMapping, InertObject) if classes else (InertMapping,):  # a file does not tell which it needs
        try:
            with safe_globals([(type(name, (kind,), {}), name) for name in classes]):
                return torch.load(path, map_location='cpu', weights_only=True, mmap=zipped)
        except (pickle.UnpicklingError, ValueError, TypeError) as error:
            refusal = error
    raise refusal


def refusal(error: pickle.UnpicklingError) -> str:
    """Why torch refused a file, without its advice to switch the safety off."""
    lines = str(error).rpartition('WeightsUnpickler error: ')[2].splitlines()
    told = [line for line in lines if line.strip() and not line.startswith('Weights only load failed')]
    return told[0].partition('Please use')[0].strip() if told else 'no reason given'


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file that holds a state dict, bare or under one of the names that training files use.

    A ``module.`` in front of the names, which data-parallel training leaves, is taken off, and so is what
    ``torch.compile``, FSDP and checkpointing of activations put into them.

    Raises:
        FileNotFoundError: there is no such file.
        ConversionError: it is damaged, holds no tensors, or two of one name once that is taken off.
    """
    return tensors_of(read_file(path), path)


def tensors_of(content: Any, path: str | Path) -> dict[str, Tensor]:
    """The tensors of what ``read_file`` read."""
    for name in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    found = content if isinstance(content, dict) else {}
    named = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    state = {_own_name(key): value for key, value in named.items()}
    if len(state) < len(named):
        twice = next(own for own in state if sum(_own_name(key) == own for key in named) > 1)
        names = ' and '.join(repr(key) for key in named if _own_name(key) == twice)
        raise ConversionError(f'{path} holds {names}, which are names of one tensor: keep one of them')
    if not state:
        raise ConversionError(f'{path} holds no tensors: expected a state dict, or one under {", ".join(WRAPPERS)}')
    return state


def _own_name(key: str) -> str:
    """The name of a tensor without what wrappers of torch put into it."""
    return WRAPPED.sub('', key).removeprefix('module.')


def has_whole_weights(folder: str | Path) -> bool:
    """Whether a folder holds weights as Hugging Face's ``save_pretrained`` writes them."""
    return any((Path(folder) / name).is_file() for file in FOLDER_FILES for name in (file, f'{file}.index.json'))


def read_folder(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face folder: safetensors or ``.bin``, one file or shards with their index.

    Raises:
        FileNotFoundError: it holds no weights, or a shard is not there.
        ConversionError: a file is damaged, or a tensor that the index names is in no shard.
    """
    folder = Path(folder)
    for name in FOLDER_FILES:
        if (folder / name).is_file():  # an index beside it is left from an earlier save, and transformers ignores it
            return read_state(folder / name)
        index = folder / f'{name}.index.json'
        if index.is_file():
            return _read_shards(folder, index)
    raise FileNotFoundError(f'{folder} holds no weights: expected {" or ".join(FOLDER_FILES)}, or shards with an index')


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    places = read_json(index).get('weight_map', {})
    shards = sorted(set(places.values()))
    if absent := [name for name in shards if not (folder / name).is_file()]:
        raise FileNotFoundError(f'{index} names files that are not in {folder}: {", ".join(absent)}')
    state = {key: value for name in shards for key, value in read_state(folder / name).items()}
    if lost := sorted({_own_name(key) for key in places} - state.keys()):
        raise ConversionError(f'{index} names tensors that are in none of its files: {", ".join(lost[:5])}')
    return state


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: there is no such file.
        ConversionError: it is not JSON, or no object.
    """
    if not path.is_file():
        raise FileNotFoundError(f'there is no file {path}')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConversionError(f'{path} is damaged: {error}') from None
    if not isinstance(content, dict):
        raise ConversionError(f'{path} should hold a JSON object, it holds a {type(content).__name__}')
    return content


@contextmanager
def new_path(out: str | Path) -> Iterator[Path]:
    """A name beside ``out`` to write under; what was written becomes ``out`` at the end, or vanishes on a failure.

    Raises:
        FileExistsError: ``out`` exists.
        OSError: the disk is full, or fails.
    """
    out = Path(out)
    require_absent(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f'.{out.name}.partial')
    _remove(beside)
    try:
        yield beside
        beside.replace(out)
    except (SafetensorError, RuntimeError) as error:  # what safetensors and torch raise where they cannot write
        free = shutil.disk_usage(out.parent).free
        raise OSError(f'{out} could not be written, {free / 2**20:,.0f} MiB were free there: {error}') from error
    finally:
        _remove(beside)


def require_absent(out: str | Path) -> None:
    """Refuses to overwrite, and a place where nothing can be written; asked before the work as well as after it.

    Raises:
        FileExistsError: ``out`` exists.
        PermissionError: it cannot be made.
    """
    if os.path.lexists(out):  # also a link to nothing
        raise FileExistsError(f'{out} exists already: remove it, or give --out another name')
    above = next(place for place in Path(out).absolute().parents if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise PermissionError(
            f'{out} cannot be made: {above} is no folder that can be written to; choose another --out'
        )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
