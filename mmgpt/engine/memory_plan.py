"""What a training run needs of memory, on each GPU and of the host, under each way to spread it.

Parameters, gradients and optimiser state are counted; activations come out of ``memory_trace``, which runs the model's
own code without values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from torch import nn

from mmgpt.models.layerwise import sharding_units

GIB = 2**30
ADAM = 2  # numbers that the optimiser keeps of each trained one
CONTEXT = 0.75 * GIB  # of a GPU, taken by CUDA and its libraries; estimated
FRAGMENTS = 0.05  # of what comes and goes: room between blocks; estimated
PROCESS = 2.5 * GIB  # of the host for each process: Python, libraries, workers' batches; estimated
BUCKET = 500_000_000  # elements that DeepSpeed's stages 2 and 3 exchange at once, its own default
ZERO3_LIVE = 1_000_000_000  # parameters that its stage 3 keeps gathered, its own default


class Amount(NamedTuple):
    """Of some parameters."""

    parameters: int  # bytes
    trained: int  # bytes of those that are trained
    numbers: int  # trained ones


@dataclass(frozen=True)
class Sizes:
    """The bytes of a model."""

    parameters: int
    trained: int  # of the parameters that are trained
    numbers: int  # trained ones
    units: tuple[Amount, ...]  # that are gathered one by one
    between: Amount  # of what lies between the units


@dataclass(frozen=True)
class Strategy:
    """A way to spread a run over processes."""

    name: str
    config: str  # what a config says for it; '' = nothing
    shards_parameters: bool = False
    shards_gradients: bool = False
    shards_optimizer: bool = False
    half: bool = False  # gathers and computes with parameters in bfloat16
    offloads_parameters: bool = False
    offloads_optimizer: bool = False


STRATEGIES = (
    Strategy('DDP', ''),
    Strategy('ZeRO-2', "dict(type='DeepSpeed', stage=2)", shards_gradients=True, shards_optimizer=True),
    Strategy(
        'ZeRO-2, optimiser on the host',
        "dict(type='DeepSpeed', stage=2, offload_optimizer=True)",
        shards_gradients=True,
        shards_optimizer=True,
        offloads_optimizer=True,
    ),
    Strategy('ZeRO-3', "dict(type='DeepSpeed', stage=3)", True, True, True),
    Strategy(
        'ZeRO-3, all on the host',
        "dict(type='DeepSpeed', stage=3, offload_optimizer=True, offload_params=True)",
        *(True, True, True),
        offloads_parameters=True,
        offloads_optimizer=True,
    ),
    Strategy('FSDP2', "dict(type='FSDP2')", True, True, True),
    Strategy('FSDP2, bfloat16', "dict(type='FSDP2', param_dtype='bfloat16')", True, True, True, half=True),
    Strategy(
        'FSDP2, bfloat16, on the host',
        "dict(type='FSDP2', param_dtype='bfloat16', cpu_offload=True)",
        *(True, True, True),
        half=True,
        offloads_parameters=True,
        offloads_optimizer=True,
    ),
)


@dataclass(frozen=True)
class Plan:
    """The bytes of one setting on each GPU, and of a machine's host memory."""

    strategy: str
    config: str
    gradient_checkpointing: bool
    parameters: float
    gradients: float
    optimizer: float
    buffers: float  # what is gathered, and what exchanges need
    activations: float
    reserve: float  # CUDA's own and fragments; estimated
    host: float
    fits: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """Of a GPU."""
        parts = (self.parameters, self.gradients, self.optimizer, self.buffers, self.activations, self.reserve)
        return sum(parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {**asdict(self), 'peak': self.peak}


def sizes_of(model: nn.Module) -> Sizes:
    """Counts a model; it may be on the meta device."""
    units = sharding_units(model)
    inside = {id(p) for unit in units for p in unit.parameters()}
    between = [p for p in model.parameters() if id(p) not in inside]
    return Sizes(*_amount(model.parameters()), tuple(_amount(u.parameters()) for u in units), _amount(between))


def _amount(parameters: Iterable[nn.Parameter]) -> Amount:
    parameters = list(parameters)
    trained = [p for p in parameters if p.requires_grad]
    return Amount(sum(p.nbytes for p in parameters), sum(p.nbytes for p in trained), sum(p.numel() for p in trained))


def optimizer_bytes(model: nn.Module) -> int:
    """What AdamW keeps of a model: two numbers for each trained one, in its precision, and a count of steps."""
    return sum(ADAM * p.nbytes + 4 for p in model.parameters() if p.requires_grad)


def plan(
    sizes: Sizes,
    strategy: Strategy,
    activations: int,
    gpus: int,
    checkpointing: bool = False,
    accumulates: bool = False,
    gpus_per_machine: int | None = None,
) -> Plan:
    """The memory of one setting.

    Args:
        sizes: of the model.
        strategy: how it is spread.
        activations: the most that is alive beside parameters, gradients and optimiser; of a strategy that is ``half``,
            with parameters in bfloat16.
        gpus: processes.
        checkpointing: whether the activations are those of gradient checkpointing.
        accumulates: whether a window has several micro-batches.
        gpus_per_machine: that share a host's memory. Default: all.
    """
    share, notes = 1 / gpus, []
    parameters = sizes.parameters * (share if strategy.shards_parameters else 1)
    gradients = sizes.trained * (share if strategy.shards_gradients else 1)
    optimizer = ADAM * sizes.trained * (share if strategy.shards_optimizer else 1)
    buffers = _buffers(sizes, strategy, share)
    if strategy.name.startswith('ZeRO'):
        optimizer += sizes.trained * share  # its own float32 copy of the weights that it steps
    elif strategy.name != 'DDP' and accumulates:
        gradients = sizes.trained
        notes.append('gradients are whole inside an accumulation window')
    host = 0.0
    if strategy.offloads_parameters:
        host, parameters = host + parameters, 0.0
        if strategy.name.startswith('FSDP2'):
            host, gradients = host + gradients, 0.0
    if strategy.offloads_optimizer:
        host, optimizer = host + optimizer, 0.0
    local = min(gpus, gpus_per_machine or gpus)
    return Plan(
        strategy.name,
        strategy.config,
        checkpointing,
        parameters,
        gradients,
        optimizer,
        buffers,
        float(activations),
        CONTEXT + FRAGMENTS * (activations + buffers),
        local * (PROCESS + host) + sizes.parameters,  # the first process reads the weights
        notes=notes,
    )


def _buffers(sizes: Sizes, strategy: Strategy, share: float) -> float:
    """What is gathered of the other processes' parts, and what exchanges need."""
    if strategy.name == 'DDP':  # exchanges gradients where they are
        return 0.0
    if strategy.name.startswith('ZeRO'):
        buffers = 2 * 4.0 * min(BUCKET, sizes.numbers)  # being filled and being exchanged
        if strategy.shards_parameters:
            gathered = min(4.0 * ZERO3_LIVE, sizes.parameters - sizes.between.parameters)
            buffers += sizes.between.parameters * (1 - share) + gathered
        return buffers
    factor = 0.5 if strategy.half else 1.0  # of float32
    largest = sorted((unit.parameters for unit in sizes.units), reverse=True)[:2]
    buffers = factor * (sizes.between.parameters + sum(largest))  # between the layers all the time, one layer ahead
    trained = max((unit.trained for unit in sizes.units), default=0)
    return buffers + factor * sizes.between.trained + (factor + 1) * trained  # whole gradients, and on their way
