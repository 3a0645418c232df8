"""What a checkpoint holds beside the model: ``training/``, with all that an exact continuation needs.

========================== ================================================================
``state.pt``               loop, stream, schedulers, message hub, groups: plain data
``optimizer.safetensors``  the optimiser's tensors by parameter name
``rng_00000.pt``           the random number generators of each process
``gradients.safetensors``  the sums of all processes, inside an accumulation window only
``checksums.json``         of every file of the checkpoint
========================== ================================================================

The tensors of a sharded checkpoint are in ``shards`` instead (``mmgpt.engine.shards_on_disk``).

Another number of processes may resume it: only the generators belong to one process.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from mmengine.dist import gather_object, get_rank
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmgpt.engine.checkpoints import CheckpointError
from mmgpt.engine.optimizer import other_options
from mmgpt.engine.shards_on_disk import SHARDS, is_sharded, read_into, read_whole, stored_sizes
from mmgpt.engine.state import load_message_hub_state, message_hub_state, plain, rng_state

if TYPE_CHECKING:
    from mmgpt.engine.runner import Runner


OPTIMIZER = 'optimizer.safetensors'
GRADIENTS = 'gradients.safetensors'


class TrainingState(NamedTuple):
    """What ``training/`` holds, on its way to the disk."""

    plain: dict[str, Any]
    optimizer: dict[str, Tensor] | None  # None where the tensors are kept in shards
    rng: list[dict[str, Any]]  # of each process
    gradients: dict[str, Tensor] | None  # None at the border of a window


def collect_training_state(runner: Runner) -> TrainingState:
    """What resuming needs, after an iteration; collective.

    Hooks may add plain data (``before_save_checkpoint``).

    Returns:
        the state; on the first process it is complete.
    """
    tensors, optimizer = runner.optim_wrapper.state_tensors()
    state = _plain_state(runner, optimizer)
    window = runner.optim_wrapper
    gradients = window.window_gradients(_trained(runner)) if window.inside_window else None
    return TrainingState(state, tensors, gather_object(rng_state()) or [], gradients)


def collect_sharded_state(runner: Runner) -> tuple[TrainingState, dict[str, Tensor]]:
    """As ``collect_training_state``, with the tensors apart, of which each process has its parts; collective.

    Returns:
        the state, and the tensors by their names in shards (``mmgpt.engine.shards_on_disk``).

    Raises:
        ValueError: the run's strategy keeps its tensors to itself.
    """
    window = runner.optim_wrapper
    tensors, optimizer = window.state_tensors(gather=False)
    shards = {f'optimizer.{name}': tensor for name, tensor in tensors.items() if tensor.ndim}
    optimizer['values'] |= {name: tensor.cpu() for name, tensor in tensors.items() if not tensor.ndim}
    state = _plain_state(runner, optimizer)
    if window.inside_window:
        gradients = window.window_gradients(_trained(runner), gather=False)
        shards |= {f'gradients.{name}': gradient for name, gradient in gradients.items()}
    return TrainingState(state, None, gather_object(rng_state()) or [], None), shards


def _plain_state(runner: Runner, optimizer: dict[str, Any]) -> dict[str, Any]:
    """Everything but tensors of parameters' shapes, and gradients brought to where they can be taken."""
    window = runner.optim_wrapper
    if window.inside_window and hasattr(runner.model, 'exchange_gradients'):
        runner.model.exchange_gradients()
    checkpoint = {
        'loop': runner.train_loop.state_dict(),
        'seed': runner.seed,
        'log_dirs': runner.log_dirs,
        'optimizer': optimizer,
        'window': window.window_state(),
        'precision': window.precision,
        'param_schedulers': [scheduler.state_dict() for scheduler in runner.param_schedulers or []],
        'message_hub': message_hub_state(runner.message_hub),
    }
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    return plain(checkpoint)


def write_training_state(state: TrainingState, folder: Path) -> None:
    """Write ``training/``."""
    folder.mkdir(exist_ok=True)
    torch.save(state.plain, folder / 'state.pt')
    if state.optimizer is not None:
        save_file(state.optimizer, folder / OPTIMIZER)
    for rank, rng in enumerate(state.rng):
        torch.save(rng, folder / _rng_file(rank))
    if state.gradients is not None:
        save_file(state.gradients, folder / GRADIENTS)


def load_training_state(runner: Runner, folder: Path) -> None:
    """Put everything back where ``collect_training_state`` found it, on each process.

    Raises:
        CheckpointError: when the config trains other parameters, or has other schedulers, than the checkpoint.
    """
    checkpoint = torch.load(folder / 'state.pt', map_location='cpu', weights_only=True)
    runner.call_hook('after_load_checkpoint', checkpoint=checkpoint)
    schedulers, states = runner.param_schedulers or [], checkpoint['param_schedulers']
    if len(schedulers) != len(states):
        raise CheckpointError(f'{folder}: it has {len(states)} schedulers, the config has {len(schedulers)}')
    groups = [dict(group) for group in runner.optim_wrapper.optimizer.param_groups]
    try:
        tensors = _tensors(runner, folder, 'optimizer', OPTIMIZER)
        runner.optim_wrapper.load_state_tensors(tensors, checkpoint['optimizer'])
        rng = folder / _rng_file(get_rank())  # a process that was not there before goes on with its fresh ones
        rng = torch.load(rng, weights_only=True) if rng.is_file() else None
        runner.train_loop.load_state_dict(checkpoint['loop'], rng)
    except ValueError as error:
        raise CheckpointError(f'{folder}: {error}') from error
    others = other_options(groups, checkpoint['optimizer']['groups'])
    others += other_options([scheduler.state_dict() for scheduler in schedulers], states)
    if others:
        runner.logger.warning(
            f'a resumed run keeps the optimiser and the schedule of its checkpoint, where they are not those of the '
            f'config: {", ".join(others)}. To train on with those of the config, start a run in another work folder '
            f'with load_from={str(folder.parent)!r}'
        )
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)
    load_message_hub_state(runner.message_hub, checkpoint['message_hub'])
    runner.log_dirs = [*dict.fromkeys([*checkpoint['log_dirs'], *runner.log_dirs])]
    if note := runner.optim_wrapper.keep_precision(checkpoint.get('precision')):
        runner.logger.warning(note)
    device = runner.trained_module.device
    window = {name: value if value is None else value.to(device) for name, value in checkpoint['window'].items()}
    gradients = _tensors(runner, folder, 'gradients', GRADIENTS) if window['weight'] is not None else {}
    runner.optim_wrapper.load_window_state(window, gradients, _trained(runner))


def _tensors(runner: Runner, folder: Path, kind: str, file: str) -> dict[str, Tensor]:
    """The optimiser's tensors or the gradients, of a file or of shards; of shards the parts of this process."""
    if not is_sharded(folder.parent):
        return load_file(folder / file)
    if not runner.strategy.addressable:
        return read_whole(folder.parent / SHARDS, f'{kind}.')
    parameters, tensors = _trained(runner), {}
    for name, (_, dtype) in stored_sizes(folder.parent / SHARDS).items():
        own = name.rsplit('/', 1)[-1].removeprefix(f'{kind}.')
        if name.startswith(f'{kind}.') and own in parameters:
            tensors[name] = torch.zeros_like(parameters[own], dtype=dtype, requires_grad=False)
    read_into(tensors, folder.parent / SHARDS)
    return {name.removeprefix(f'{kind}.'): tensor for name, tensor in tensors.items()}


def _trained(runner: Runner) -> dict[str, nn.Parameter]:
    return {name: p for name, p in runner.bare_model.named_parameters() if p.requires_grad}


def _rng_file(rank: int) -> str:
    return f'rng_{rank:05d}.pt'
