"""The optimiser's step: gradients summed over a window of micro-batches, divided once, clipped once, stepped once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmgpt.engine.optimizer import NO_DECAY, load_optimizer_state, optimizer_state
from mmgpt.engine.shards import local, shared_like, whole
from mmgpt.registry import OPTIM_WRAPPERS

if TYPE_CHECKING:
    from mmgpt.models.loss import LossSums

PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16}


@OPTIM_WRAPPERS.register_module()
class AccumulatingOptimWrapper(OptimWrapper):
    """Accumulates exactly: k micro-batches give the gradient of the one large batch, whatever their token counts.

    Each micro-batch adds the gradient of its *sum* Σ wᵢ·CEᵢ. At the end of a window the gradients are divided once by
    the window's Σ wᵢ over all processes, clipped once and stepped. A window is ``accumulative_counts`` iterations of
    the whole run; the run's last one may be shorter.

    Args:
        optimizer: the optimiser over the trained parameters.
        accumulative_counts: micro-batches of a window.
        clip_grad: arguments of ``torch.nn.utils.clip_grad_norm_``, e.g. ``dict(max_norm=1.0)``; None does not clip.
        precision: 'fp32', or 'bf16' for autocast (CPU and GPU); parameters and optimiser stay as they are. 'auto' is
            the one that is faster on this device (``faster_precision``); a resumed run goes on in its checkpoint's.
        reduction: 'token' as above; 'batch' gives the mean of the micro-batches' means, as OpenFlamingo, Otter and
            MultiModal-GPT published it.
        no_decay: patterns of parameter names without weight decay, beside norms, biases and embeddings.
        lr_factors: pattern of parameter names -> factor on the learning rate; the first that matches counts.

    A window whose loss or gradient is not finite is left out, by all processes alike: ``skipped`` says so, and
    ``NonFiniteHook`` counts and tells it.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
        precision: Literal['auto', 'fp32', 'bf16'] = 'auto',
        reduction: Literal['token', 'batch'] = 'token',
        no_decay: Iterable[str] = NO_DECAY,
        lr_factors: dict[str, float] | None = None,
    ):
        if not isinstance(accumulative_counts, int) or accumulative_counts < 1:
            raise ValueError(f'accumulative_counts must be an integer of at least 1, got {accumulative_counts!r}')
        if precision not in ('auto', *PRECISIONS):
            raise ValueError(f'precision must be one of {["auto", *PRECISIONS]}, got {precision!r}')
        if reduction not in ('token', 'batch'):
            raise ValueError(f"reduction must be 'token' or 'batch', got {reduction!r}")
        super().__init__(optimizer, accumulative_counts, clip_grad=None)
        self.clipping = dict(clip_grad) if clip_grad else {'max_norm': float('inf')}
        self.chooses_precision, self.precision = precision == 'auto', precision
        self.computes_on(self.optimizer.param_groups[0]['params'][0].device)
        self.reduction = reduction
        self.grad_norm: Tensor | None = None  # of the newest step, before clipping
        self.skipped = False  # whether the newest window was left out, since it was not finite
        self._window_weight: Tensor | None = None
        self._carried: dict[nn.Parameter, Tensor] = {}  # what a resumed window brought, divided by the processes

    @contextmanager
    def optim_context(self, model: nn.Module):
        """The context of a forward pass: autocast, and no gradient exchange inside a window."""
        dtype = PRECISIONS[self.precision]
        precision = nullcontext() if dtype is None else torch.autocast(self.device.type, dtype=dtype)
        with super().optim_context(model), precision:
            yield

    def computes_on(self, device: torch.device) -> None:
        """Name the device of the forward passes, where the parameters are kept on another one."""
        self.device = device
        if self.chooses_precision:
            self.precision = faster_precision(device)

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Start counting at ``init_counts``; a run resumed inside a window brings its gradients with it."""
        self._inner_count = init_counts
        self._max_counts = max_counts
        self._remainder_counts = max_counts % self._accumulative_counts

    def update_params(self, loss: LossSums, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """Add one micro-batch; step when it ends a window.

        Args:
            loss: the sums of the micro-batch; ``loss.loss_sum`` carries the graph.
            step_kwargs: for ``Optimizer.step``.
            zero_kwargs: for ``Optimizer.zero_grad``.
        """
        loss_sum, weight = loss.loss_sum, loss.weight_sum.detach().double()
        if self.reduction == 'batch':
            loss_sum = loss_sum / weight.clamp_min(torch.finfo(torch.float32).tiny).to(loss_sum.dtype)
            weight = (weight > 0).double()
        weight = torch.where(torch.isfinite(loss_sum.detach()), weight, torch.nan)  # so all processes learn of it
        self._window_weight = weight if self._window_weight is None else self._window_weight + weight
        if loss_sum.requires_grad:
            self._backward(loss_sum)
        self._inner_count += 1
        if self.should_update():
            self._divide()
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def _backward(self, loss_sum: Tensor) -> None:
        loss_sum.backward()

    def _divide(self) -> None:
        """Divide the summed gradients by the window's weight, that of all processes."""
        for parameter, gradient in self._carried.items():
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        self._carried = {}
        weight = self._window_weight
        all_reduce(weight)
        factor = get_world_size() / weight  # data-parallel wrappers leave the mean over processes, not the sum
        for parameter in self.trained():
            local(parameter.grad).mul_(torch.where(weight > 0, factor, 0.0).to(parameter.grad))

    def step(self, **kwargs: Any) -> None:
        """Clip the window's gradient and let the optimiser step.

        A window without any target steps nothing, nor does one that is not finite.
        """
        weight, self._window_weight = self._window_weight, None
        parameters = self.trained()
        self.grad_norm = whole(nn.utils.clip_grad_norm_(parameters, **self.clipping))
        self.skipped = not bool(torch.isfinite(self.grad_norm) & torch.isfinite(weight).to(self.grad_norm.device))
        if not self.skipped and bool(weight > 0):
            self.optimizer.step(**kwargs)

    def trained(self) -> list[nn.Parameter]:
        """The parameters of the optimiser that have a gradient now."""
        return [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]

    @property
    def accumulative_counts(self) -> int:
        """Micro-batches of a window."""
        return self._accumulative_counts

    @property
    def inside_window(self) -> bool:
        """Whether gradients are held that no step has used yet."""
        return self._window_weight is not None

    def window_state(self) -> dict[str, Tensor | None]:
        """Σ w of all processes' open window (float64; None at a border), and the newest step's gradient norm."""
        weight = None if self._window_weight is None else self._window_weight.clone()
        if weight is not None:
            all_reduce(weight)
        return {'weight': weight, 'grad_norm': self.grad_norm}

    def window_gradients(self, parameters: Mapping[str, nn.Parameter], gather: bool = True) -> dict[str, Tensor]:
        """The gradients of the open window, summed over the processes; collective.

        Args:
            parameters: the trained parameters by name.
            gather: whole ones; False leaves each process its part where they share parameters.

        Returns:
            by name; a parameter that no process has used in this window is left out.
        """
        if get_world_size() == 1:
            return {name: p.grad.contiguous() for name, p in parameters.items() if p.grad is not None}
        used = torch.tensor([p.grad is not None for p in parameters.values()], dtype=torch.uint8)
        all_reduce(used, op='max')
        gradients = {}
        for (name, parameter), somewhere in zip(parameters.items(), used.tolist()):
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            shared = own is not local(own)
            if somewhere and not shared:
                all_reduce(own)
            elif shared:
                own *= get_world_size()  # the mean was exchanged already
            if parameter in self._carried:
                own += self._carried[parameter] * get_world_size()
            if somewhere or parameter in self._carried:
                gradients[name] = whole(own).cpu() if gather else own
        return gradients

    def state_tensors(self, gather: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimiser's state by parameter name, as ``mmgpt.engine.optimizer.optimizer_state`` gives it."""
        return optimizer_state(self.optimizer, gather)

    def load_state_tensors(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        """Put back what ``state_tensors`` gave; see ``mmgpt.engine.optimizer.load_optimizer_state``."""
        load_optimizer_state(self.optimizer, tensors, data)

    def keep_precision(self, precision: str | None) -> str | None:
        """Go on in the precision of a checkpoint, where the config leaves the choice.

        Args:
            precision: of the checkpoint; None: it does not say.

        Returns:
            what is to be said of it, or None.
        """
        if precision in (None, self.precision):
            return None
        if self.chooses_precision:
            self.precision = precision
            return f'going on in {precision} as the checkpoint did'
        return f'the checkpoint was trained in {precision}, the run goes on in {self.precision} as the config says'

    def load_window_state(
        self,
        state: dict[str, Tensor | None],
        gradients: Mapping[str, Tensor] | None = None,
        parameters: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        """Put back what ``window_state`` and ``window_gradients`` gave; the number of processes may differ."""
        weight, self.grad_norm = state['weight'], state['grad_norm']
        self._window_weight = weight if weight is None or is_main_process() else torch.zeros_like(weight)
        named = [(parameters[name], gradient) for name, gradient in (gradients or {}).items()]
        if get_world_size() == 1:  # in place, so that the sums come in the order of an uninterrupted run
            for parameter, gradient in named:
                parameter.grad = gradient.to(parameter.device)
        else:  # a wrapper exchanges only gradients that it saw arise
            self._carried = {p: shared_like(gradient, p) / get_world_size() for p, gradient in named}


def faster_precision(device: torch.device) -> Literal['fp32', 'bf16']:
    """'bf16' where matrix products have it in hardware: GPUs since Ampere, CPUs with AMX or AVX512-BF16.

    With AVX512-BF16 a step took 0.46 of its time in float32 (2 cores, width 512, a vision tower of width 384).
    """
    if device.type == 'cpu':
        capable = torch.cpu.get_capabilities()
        return 'bf16' if capable.get('amx_bf16') or capable.get('avx512_bf16') else 'fp32'
    if device.type == 'cuda':
        return 'bf16' if torch.cuda.is_bf16_supported(including_emulation=False) else 'fp32'
    return 'fp32'
