"""The processes of a run: who this one is, how they come together, and what only one of them does."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from torch import distributed

T = TypeVar('T')

# Where a launcher says which process this is: rank, number of processes, rank on this machine.
VARIABLES = {
    'pytorch': [('RANK', 'WORLD_SIZE', 'LOCAL_RANK')],
    'slurm': [('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID')],
    'mpi': [
        ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
        ('PMI_RANK', 'PMI_SIZE', 'MPI_LOCALRANKID'),
    ],
}
STARTED_BY = {
    'pytorch': 'tools/dist_train.sh CONFIG GPUS (torchrun)',
    'slurm': 'tools/slurm_train.sh PARTITION JOB CONFIG WORKDIR (srun)',
    'mpi': 'mpirun -n GPUS',
}
PATIENCE = timedelta(seconds=120)  # for the first process to come to the meeting place; a loaded machine starts slowly


class Place(NamedTuple):
    """Which process of a run this is."""

    rank: int
    world_size: int
    local_rank: int  # among those of this machine


def find_place(launcher: str, environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process, from the variables that its launcher sets.

    Args:
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        environment: the environment's variables.

    Raises:
        ValueError: the launcher did not start this process, or there is no such launcher.

    Example:
        >>> find_place('pytorch', {'RANK': '3', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'})
        Place(rank=3, world_size=8, local_rank=1)
    """
    if launcher == 'none':
        return Place(0, 1, 0)
    if launcher not in VARIABLES:
        raise ValueError(f'launcher must be one of none, {", ".join(VARIABLES)}, got {launcher!r}')
    for names in VARIABLES[launcher]:
        if all(environment.get(name, '').isdigit() for name in names):
            return Place(*(int(environment[name]) for name in names))
    names = ' or '.join('/'.join(names) for names in VARIABLES[launcher])
    raise ValueError(f'launcher {launcher!r} needs {names} in the environment: start with {STARTED_BY[launcher]}')


def join(launcher: str, backend: str | None = None, timeout: float = 1800.0) -> Place:
    """Bring the processes of a run together; on one process without a launcher there is nothing to do.

    ``MASTER_ADDR`` and ``MASTER_PORT`` (or ``PORT``) say where they meet; on one machine they need not be set.

    Args:
        launcher: what started them.
        backend: 'nccl' or 'gloo'. Default: nccl where there are GPUs.
        timeout: seconds that a process waits for the others in an exchange.

    Raises:
        ValueError: this process was not started by the launcher, there are more processes than GPUs, or it is not
            known where to meet.
    """
    place = find_place(launcher)
    if launcher == 'none' or distributed.is_initialized():
        return place
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus:
        if place.local_rank >= gpus:
            raise ValueError(
                f'process {place.local_rank + 1} of this machine has no GPU: there are {gpus}; start fewer processes, '
                'or run on the CPU with CUDA_VISIBLE_DEVICES= (empty)'
            )
        torch.cuda.set_device(place.local_rank)
    store = meet(launcher)
    store.set_timeout(timedelta(seconds=timeout))
    distributed.init_process_group(
        backend or ('nccl' if gpus else 'gloo'),
        store=distributed.PrefixStore('group', store),
        rank=place.rank,
        world_size=place.world_size,
        timeout=timedelta(seconds=timeout),
    )
    return place


@functools.cache
def meet(launcher: str) -> distributed.Store:
    """The values that the processes of a run share; it is there before they have joined, and after.

    torchrun holds it, or else the first process. When torchrun starts the processes again, they begin with none.

    Args:
        launcher: what started them.

    Raises:
        ValueError: this process was not started by the launcher, or it is not known where to meet.
        torch.distributed.DistError: nobody is at the meeting place.
    """
    place = find_place(launcher)
    held_by_torchrun = os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'
    store = distributed.TCPStore(
        os.environ.get('MASTER_ADDR') or _meeting_place(launcher),
        int(os.environ.get('MASTER_PORT') or os.environ.get('PORT') or 29500),
        place.world_size,
        is_master=place.rank == 0 and not held_by_torchrun,
        timeout=PATIENCE,
        wait_for_workers=False,
    )
    return distributed.PrefixStore(f'attempt_{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}', store)


def leave() -> None:
    """Let the processes go their own ways; collective."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def on_main(function: Callable[[], T]) -> T:
    """Run a function on the first process only; collective.

    Returns:
        on every process what the function gave.

    Raises:
        Exception: what the function raised, on every process, so that none waits for another in vain.
    """
    if get_world_size() == 1:
        return function()
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def report(tool: str, error: BaseException | str, code: int, launcher: str = 'none') -> int:
    """Tell the user why the run ends, once however many processes end for it.

    The process that fails first speaks. The others fail for the same reason or because it has gone: they wait until it
    has spoken, and are silent.

    Args:
        tool: who speaks.
        error: what happened.
        code: the exit code that belongs to it.
        launcher: what started the processes.

    Returns:
        the code with which this process should end: that of the one that failed first.
    """
    try:
        store = None if launcher == 'none' else meet(launcher)
    except (ValueError, distributed.DistError):  # it is alone
        store = None
    try:
        if store is not None and store.add('failures', 1) > 1:
            store.wait(['told'], PATIENCE)
            return int(store.get('told'))
    except distributed.DistError:  # what held it has ended: the first process, or torchrun
        if lost_process(error) is None:  # it has spoken
            return code
    print(f'{tool}: {error}', file=sys.stderr, flush=True)
    if store is not None:
        with contextlib.suppress(distributed.DistError):
            store.set('told', str(code))
    return code


LOST = 'another process was lost'
SIGNS_OF_LOSS = (  # in what gloo, NCCL and the store say
    'Connection closed by peer',
    'Connection reset by peer',
    'Broken pipe',
    'Timed out waiting',
    'timed out',
    'timeout caused pair closure',
    'Connection refused',
    'aborted',
)


def lost_process(error: BaseException | str) -> str | None:
    """What to say where an exchange failed since another process is gone or stands still; None for other errors.

    A process that is killed is noticed at once; one whose machine is gone, or that hangs, after ``timeout`` of
    ``env_cfg.dist_cfg``.
    """
    if isinstance(error, str):
        return error if error.startswith(LOST) else None
    of_an_exchange = isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in ('gloo', 'NCCL', 'pair closure'))
    )
    if not of_an_exchange or not any(text in str(error) for text in SIGNS_OF_LOSS):
        return None
    first = str(error).strip().splitlines()[0]
    place = f'process {distributed.get_rank()}' if distributed.is_initialized() else 'this process'
    return (
        f'{LOST}: it was killed, its machine is gone, or it stood still for too long ({place} noticed: {first}). '
        'The run ends; --resume auto goes on from the newest checkpoint, with any number of processes'
    )


def _meeting_place(launcher: str) -> str:
    """The address of the machine of the first process.

    Raises:
        ValueError: there are several machines, and nothing says which is the first.
    """
    nodes = os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_JOB_NODELIST')
    if launcher == 'slurm' and nodes and os.environ.get('SLURM_NNODES', '1') != '1':
        shown = subprocess.run(['scontrol', 'show', 'hostnames', nodes], capture_output=True, text=True, check=True)
        return shown.stdout.split()[0]
    alone = os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE') == os.environ.get('OMPI_COMM_WORLD_SIZE')
    if launcher == 'mpi' and not alone:
        raise ValueError('set MASTER_ADDR to the address of the machine of the first process')
    return '127.0.0.1'
