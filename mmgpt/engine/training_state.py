"""What a checkpoint holds beside the model: ``training/``, with all that an exact continuation needs.

================================ ==========================================================
``state.pt``                     loop, stream, schedulers, message hub, groups: plain data
``optimizer.safetensors``        the optimiser's tensors by parameter name
``rng_00000.pt``                 the random number generators of a process
``gradients_00000.safetensors``  of a process, inside an accumulation window only
``checksums.json``               of every file of the checkpoint
================================ ==========================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmengine.dist import get_rank
from safetensors.torch import load_file, save_file

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


def save_training_state(runner: Runner, folder: Path) -> None:
    """Write ``training/`` after an iteration; hooks may add plain data (``before_save_checkpoint``)."""
    folder.mkdir()
    tensors, optimizer = optimizer_state(runner.optim_wrapper.optimizer)
    checkpoint = {
        'loop': runner.train_loop.state_dict(),
        'seed': runner.seed,
        'log_dirs': runner.log_dirs,
        'optimizer': optimizer,
        'window': runner.optim_wrapper.window_state(),
        'param_schedulers': [scheduler.state_dict() for scheduler in runner.param_schedulers or []],
        'message_hub': message_hub_state(runner.message_hub),
    }
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    torch.save(plain(checkpoint), folder / 'state.pt')
    torch.save(rng_state(), folder / _rng_file())
    save_file(tensors, folder / 'optimizer.safetensors')
    if runner.optim_wrapper.inside_window:
        named = runner.bare_model.named_parameters()
        save_file({name: p.grad.contiguous() for name, p in named if p.grad is not None}, folder / _gradients_file())


def load_training_state(runner: Runner, folder: Path) -> None:
    """Put everything back where ``save_training_state`` found it.

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
        runner.train_loop.load_state_dict(checkpoint['loop'], torch.load(folder / _rng_file(), weights_only=True))
    except ValueError as error:
        raise CheckpointError(f'{folder}: {error}') from error
    for scheduler, state in zip(schedulers, states, strict=True):
        scheduler.load_state_dict(state)
    load_message_hub_state(runner.message_hub, checkpoint['message_hub'])
    runner.log_dirs = [*dict.fromkeys([*checkpoint['log_dirs'], *runner.log_dirs])]
    device = next(runner.bare_model.parameters()).device
    window = {name: value if value is None else value.to(device) for name, value in checkpoint['window'].items()}
    runner.optim_wrapper.load_window_state(window)
    if runner.optim_wrapper.inside_window:
        gradients = load_file(folder / _gradients_file(), device=str(device))
        for name, parameter in runner.bare_model.named_parameters():
            parameter.grad = gradients.get(name)


def _rng_file() -> str:
    return f'rng_{get_rank():05d}.pt'


def _gradients_file() -> str:
    return f'gradients_{get_rank():05d}.safetensors'
