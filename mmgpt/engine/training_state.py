"""What a checkpoint holds beside the model: ``training/``, with all that an exact continuation needs.

========================== ================================================================
``state.pt``               loop, stream, schedulers, message hub, groups: plain data
``optimizer.safetensors``  the optimiser's tensors by parameter name
``rng_00000.pt``           the random number generators of each process
``gradients.safetensors``  the sums of all processes, inside an accumulation window only
``checksums.json``         of every file of the checkpoint
========================== ================================================================

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
from mmgpt.engine.state import (
    load_message_hub_state,
    load_optimizer_state,
    message_hub_state,
    optimizer_state,
    plain,
    rng_state,
)

if TYPE_CHECKING:
    from mmgpt.engine.runner import Runner


GRADIENTS = 'gradients.safetensors'


class TrainingState(NamedTuple):
    """What ``training/`` holds, on its way to the disk."""

    plain: dict[str, Any]
    optimizer: dict[str, Tensor]
    rng: list[dict[str, Any]]  # of each process
    gradients: dict[str, Tensor] | None  # None at the border of a window


def collect_training_state(runner: Runner) -> TrainingState:
    """What resuming needs, after an iteration; collective.

    Hooks may add plain data (``before_save_checkpoint``).

    Returns:
        the state; on the first process it is complete.
    """
    tensors, optimizer = optimizer_state(runner.optim_wrapper.optimizer)
    window = runner.optim_wrapper
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
    gradients = window.window_gradients(_trained(runner)) if window.inside_window else None
    return TrainingState(plain(checkpoint), tensors, gather_object(rng_state()) or [], gradients)


def write_training_state(state: TrainingState, folder: Path) -> None:
    """Write ``training/``."""
    folder.mkdir()
    torch.save(state.plain, folder / 'state.pt')
    save_file(state.optimizer, folder / 'optimizer.safetensors')
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
    try:
        tensors = load_file(folder / 'optimizer.safetensors')
        load_optimizer_state(runner.optim_wrapper.optimizer, tensors, checkpoint['optimizer'])
        rng = folder / _rng_file(get_rank())  # a process that was not there before goes on with its fresh ones
        rng = torch.load(rng, weights_only=True) if rng.is_file() else None
        runner.train_loop.load_state_dict(checkpoint['loop'], rng)
    except ValueError as error:
        raise CheckpointError(f'{folder}: {error}') from error
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)
    load_message_hub_state(runner.message_hub, checkpoint['message_hub'])
    runner.log_dirs = [*dict.fromkeys([*checkpoint['log_dirs'], *runner.log_dirs])]
    if note := runner.optim_wrapper.keep_precision(checkpoint.get('precision')):
        runner.logger.warning(note)
    device = next(runner.bare_model.parameters()).device
    window = {name: value if value is None else value.to(device) for name, value in checkpoint['window'].items()}
    gradients = load_file(folder / GRADIENTS) if window['weight'] is not None else {}
    runner.optim_wrapper.load_window_state(window, gradients, _trained(runner))


def _trained(runner: Runner) -> dict[str, nn.Parameter]:
    return {name: p for name, p in runner.bare_model.named_parameters() if p.requires_grad}


def _rng_file(rank: int) -> str:
    return f'rng_{rank:05d}.pt'
