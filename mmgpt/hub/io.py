"""Folders that hold a model with everything it needs, and the errors one meets when loading them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError

from mmgpt.hub.network import is_reachable
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.matmul import prefer_onednn
from mmgpt.models.quantization import quantization_config


def save_folder(
    folder: str | Path, model: Any, processor: FlamingoProcessor, max_shard_size: int | str = '5GB'
) -> Path:
    """Writes a self-contained folder: weights, configuration, processor and tokenizer.

    It is written beside and renamed, so the folder is either whole or not there; of a save that fails nothing stays.

    Args:
        folder: must not exist, or be empty.
        model: a ``Flamingo``.
        processor: its processor, see ``FlamingoProcessor.for_model``.
        max_shard_size: of a weight file, in bytes or as ``'5GB'``.

    Raises:
        FileExistsError: the folder holds something already.
        ValueError: the model carries adapters that were loaded, of which transformers would write nothing else.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f'{folder} exists already; remove it or choose another folder')
    if getattr(model, '_hf_peft_config_loaded', False):
        raise ValueError(
            f'the model carries the adapters {", ".join(model.peft_config)}, and only they would be written to '
            f'{folder}: add them to its weights or drop them first (mmgpt.models.adapters.unload_adapters)'
        )
    place = folder.resolve()  # where a link leads to
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_name(f'.{place.name}.incomplete')
    shutil.rmtree(beside, ignore_errors=True)
    set_generation_tokens(model, processor)
    try:
        model.save_pretrained(beside, max_shard_size=max_shard_size)
        processor.save_pretrained(beside)
        beside.replace(place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def set_generation_tokens(model: Any, processor: FlamingoProcessor) -> None:
    """Makes ``model.generate`` end where the template's answers end, and pad with the tokenizer's padding."""
    config = model.generation_config
    config.bos_token_id = processor.tokenizer.bos_token_id
    config.pad_token_id = processor.pad_token_id
    config.eos_token_id = processor.stop_token_ids


def load_folder(
    name: str | Path,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = 'auto',
    bits: int | None = None,
) -> tuple[Any, FlamingoProcessor]:
    """Loads a model and its processor, for use.

    On a CPU, float32 products of the process go to the faster library from then on (``models/matmul.py``).

    Args:
        name: a folder that training or ``save_folder`` wrote, or the id of a model on the Hugging Face hub.
        device: default: the accelerator where there is one, else the CPU.
        dtype: 'auto' takes the one that the folder's ``config.json`` tells, the vision encoder's when it was saved, for
            all parts; else as 'bfloat16' or ``torch.bfloat16``.
        bits: 8 or 4 loads the language model's layers in so many bits, see ``mmgpt.models.quantization``.

    Returns:
        The model in evaluation mode, and its processor.

    Raises:
        ValueError: there is no such device or dtype, or the folder's configuration names a part that there is not.
        OSError: there is no such folder, it is no model folder, or the hub cannot be reached.
        ImportError: the model needs a plugin that was not imported, or ``bits`` a package; the message names it.

    Example::

        model, processor = load_folder('work_dirs/otter_demo/hf')
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    device = _device(device)
    if isinstance(dtype, str) and dtype != 'auto' and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got {dtype!r}")
    name, options = locate(name)
    prefer_onednn()
    loading = dict(options)
    if bits is not None:
        loading |= {'quantization_config': quantization_config(bits), 'device_map': {'': device}}
    try:
        processor = AutoProcessor.from_pretrained(name, **options)  # first: it is quick to say what is missing
        model = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype, **loading)
    except (KeyError, TypeError, StrictDataclassError) as error:  # an unknown part, or arguments that are not its own
        raise ValueError(
            f'{name}: its config.json or processor_config.json describes what cannot be made: {str(*error.args[:1])}'
        ) from error
    if Path(name).is_dir() and not (Path(name) / 'generation_config.json').is_file():  # answers would not end
        set_generation_tokens(model, processor)
    return (model if bits is not None else model.to(device)).eval(), processor


def _device(name: str | torch.device | None) -> torch.device:
    try:
        return torch.device(name or default_device())
    except RuntimeError as error:
        raise ValueError(f"device must be such as 'cpu' or 'cuda:0', got {name!r}") from error


def default_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device('cpu')


def locate(name: str | Path) -> tuple[str, dict[str, Any]]:
    """What ``from_pretrained`` should be given for a model: its name, and options.

    Raises:
        OSError: there is no such folder, it is no model folder, or the hub cannot be reached and has not been before.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        check_folder(path)
        return str(path), {}
    if not _is_hub_id(str(name)):
        raise FileNotFoundError(f'there is no model folder {path}')
    if is_reachable():
        return str(name), {}
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(str(name), 'config.json'), str):
        return str(name), {'local_files_only': True}
    raise OSError(
        f'there is no folder {name}, and the Hugging Face hub cannot be reached to look for a model of that id (nor is '
        f'it in the local cache); give the path of a model folder, or connect to the network'
    )


def _is_hub_id(name: str) -> bool:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count('/') == 1 and not Path(name).parent.exists()  # else it is a path below a folder of this machine


def check_folder(path: Path) -> None:
    """Raises an OSError that says what is wrong with a folder, unless it is one of a model with its processor."""
    config = path / 'config.json'
    if not config.is_file():
        inner = sorted(path.glob('*/config.json')) + sorted(path.glob('checkpoints/*/config.json'))
        hint = f'; did you mean {inner[0].parent}?' if inner else ''
        raise FileNotFoundError(f'{path} is not a model folder: it has no config.json{hint}')
    try:
        found = json.loads(config.read_text(encoding='utf-8')).get('model_type')
    except (ValueError, AttributeError) as error:
        raise OSError(f'{config} is damaged: {error}') from error
    expected = FlamingoConfig.model_type
    if found != expected:
        raise OSError(f'{path} holds a model of type {found!r}; expected {expected!r}, a model that mmgpt saved')
    if not (path / 'processor_config.json').is_file():
        raise FileNotFoundError(f'{path} has no processor_config.json: the model was saved without its processor')
