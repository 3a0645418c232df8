"""The optimiser's step where DeepSpeed's ZeRO takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size, is_main_process
from torch import Tensor, nn

from mmgpt.engine.optim_wrapper import AccumulatingOptimWrapper
from mmgpt.engine.state import plain


class ZeroOptimWrapper(AccumulatingOptimWrapper):
    """Leaves gradients and the optimiser's state to DeepSpeed's engine, and takes the same steps.

    The one division by the window's weight goes by way of the loss scale: backward passes run with a scale of 1, and
    the step divides by what the scale is then, before it clips.

    Args:
        wrapper: the run's wrapper, whose settings count.
        trained: name and parameter of what is trained.
    """

    def __init__(self, wrapper: AccumulatingOptimWrapper, trained: Sequence[tuple[str, nn.Parameter]]):
        self.engine: Any = None  # set when it is there
        self._has_gradients = False
        super().__init__(
            wrapper.optimizer,
            accumulative_counts=wrapper.accumulative_counts,
            precision=wrapper.precision,
            reduction=wrapper.reduction,
        )
        self.clipping, self.device = wrapper.clipping, wrapper.device
        self.chooses_precision = wrapper.chooses_precision
        self._named = dict(trained)
        self._names = [list(group['names']) for group in wrapper.optimizer.param_groups]

    def _backward(self, loss_sum: Tensor) -> None:
        self.engine.optimizer.override_loss_scale(1.0)
        self.engine.backward(loss_sum, scale_wrt_gas=False)
        self._has_gradients = True

    def _divide(self) -> None:
        """Set the scale by which the step divides."""
        weight = self._window_weight
        all_reduce(weight)
        usable = bool(torch.isfinite(weight) & (weight > 0))
        self.engine.optimizer.override_loss_scale(float(weight) / get_world_size() if usable else 1.0)

    def step(self, **kwargs: Any) -> None:
        """Let the engine divide, clip and step; a gradient that is not finite it leaves out."""
        self._window_weight, self.skipped = None, False
        if not self._has_gradients:  # a window of texts that use nothing that is trained, on all processes
            self.grad_norm = torch.zeros((), device=self.device)
            return
        self._has_gradients = False
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        self.grad_norm = torch.as_tensor(float('nan') if norm is None else float(norm), device=self.device)
        self.skipped = not bool(torch.isfinite(self.grad_norm))

    def zero_grad(self, **kwargs: Any) -> None:
        """Nothing: the engine's step has done it."""

    # The state of whole parameters, by name

    def window_gradients(self, parameters: Mapping[str, nn.Parameter], gather: bool = True) -> dict[str, Tensor]:
        """Raises RuntimeError: DeepSpeed does not give out the gradients of an open window."""
        raise RuntimeError(
            'DeepSpeed does not give out the gradients of an open accumulation window: set the interval of '
            'CheckpointHook to a multiple of optim_wrapper.accumulative_counts'
        )

    def state_tensors(self, gather: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The optimiser's state by parameter name; collective, whole on the first process.

        Raises:
            ValueError: it shall not ``gather``.
        """
        if not gather:
            raise ValueError('DeepSpeed keeps its shards to itself: leave sharded out of CheckpointHook')
        from deepspeed.utils import safe_get_full_optimizer_state

        zero, tensors, values = self.engine.optimizer, {}, {}
        _link(zero)
        states = [dict(self.optimizer.state.get(flat, {})) for flat in _flat(zero)]
        state = next((state for state in states if state), {})
        for name, parameter in self._named.items():
            for entry, value in state.items():
                if isinstance(value, Tensor) and value.ndim:
                    whole = safe_get_full_optimizer_state(parameter, entry)
                    if is_main_process():
                        tensors[f'{entry}/{name}'] = whole.cpu().reshape(_shape(parameter)).contiguous()
                elif isinstance(value, Tensor):
                    tensors[f'{entry}/{name}'] = value.detach().clone()
                else:
                    values[f'{entry}/{name}'] = plain(value)
        groups = [
            plain({key: value for key, value in {**group, 'names': names}.items() if key != 'params'})
            for group, names in zip(self.optimizer.param_groups, self._names, strict=True)
        ]
        return tensors, {'groups': groups, 'values': values}

    def load_state_tensors(self, tensors: dict[str, Tensor], data: dict[str, Any]) -> None:
        """Put back what ``state_tensors`` gave, or another strategy's wrapper."""
        saved = [group['names'] for group in data['groups']]
        if saved != self._names:
            raise ValueError('the optimiser of the checkpoint has other parameters or groups than this config')
        for group, kept in zip(self.optimizer.param_groups, data['groups'], strict=True):
            group.update({key: value for key, value in kept.items() if key not in ('params', 'fused', 'foreach')})
        zero = self.engine.optimizer
        flats = _flat(zero)
        by_entry: dict[str, dict[str, Any]] = {}
        for key, value in {**tensors, **data['values']}.items():
            entry, name = key.split('/', 1)
            by_entry.setdefault(entry, {})[name] = value
        for entry, named in by_entry.items():
            counts = [value for value in named.values() if not (isinstance(value, Tensor) and value.ndim)]
            for flat in flats:
                if counts:  # such as steps: the parameters of a part that was run less often have fewer
                    newest = max(counts, key=float)
                    self.optimizer.state[flat][entry] = newest.clone() if isinstance(newest, Tensor) else newest
                else:
                    self.optimizer.state[flat][entry] = torch.zeros_like(flat)
        _link(zero)
        for entry, named in by_entry.items():
            for name, value in named.items():
                if isinstance(value, Tensor) and value.ndim:
                    _put(self._named[name], value, entry)


def _flat(zero: Any) -> list[Tensor]:
    """The optimiser's own flat parameters on this process."""
    stage2 = getattr(zero, 'single_partition_of_fp32_groups', None)
    return list(zero.fp32_partitioned_groups_flat if stage2 is None else stage2)


def _link(zero: Any) -> None:
    """Let stage 2 find the state of all groups; by itself it looks once, when only the first group has stepped."""
    if hasattr(zero, '_lazy_init_hp_params_optimizer_state'):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()


def _shape(parameter: nn.Parameter) -> torch.Size:
    return getattr(parameter, 'ds_shape', parameter.shape)


def _put(parameter: nn.Parameter, value: Tensor, entry: str) -> None:
    """Give this process its part of a parameter's state."""
    from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

    if not hasattr(parameter, 'ds_id'):
        safe_set_full_optimizer_state(parameter, value.to(parameter.device), entry)
        return
    size, rank = parameter.partition_numel(), torch.distributed.get_rank()
    padded = torch.zeros(size * get_world_size(), dtype=value.dtype)
    padded[: value.numel()] = value.flatten()
    safe_set_local_optimizer_state(parameter, padded[rank * size : (rank + 1) * size], entry)
