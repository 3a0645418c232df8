"""DeepSpeed's ZeRO: optimiser state and gradients (stage 2), or parameters too (stage 3), spread over the processes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_main_process
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmgpt.engine.module import TrainedModule, count_samples, to_device
from mmgpt.engine.strategies.base import Strategy
from mmgpt.engine.strategies.joined import JoinedModule
from mmgpt.engine.strategies.swapping import load_whole, whole_parameters
from mmgpt.engine.strategies.zero_optim import ZeroOptimWrapper
from mmgpt.models.layerwise import sharding_units
from mmgpt.registry import STRATEGIES
from mmgpt.structures import Batch

INSTALL = 'DS_BUILD_OPS=0 pip install --no-build-isolation deepspeed'


@STRATEGIES.register_module()
class DeepSpeed(Strategy):
    """ZeRO (arXiv 1910.02054) by DeepSpeed, an extra: it has to be installed.

    Where a whole step runs a part of the model on no process, as the resampler in one of texts only, ZeRO counts its
    gradient as 0, and an optimiser with momentum moves it, AdamW by up to its learning rate; the other strategies leave
    it alone.

    Args:
        stage: 2 spreads gradients and optimiser state, 3 the parameters too.
        offload_optimizer: the optimiser's state and step are the host's.
        offload_params: parameters stay in the host's memory between their uses (stage 3).
        config: further keys of DeepSpeed's own configuration, which win.

    Raises:
        ImportError: DeepSpeed is not installed; the message says how it is.

    Example:
        >>> strategy = dict(type='DeepSpeed', stage=3, offload_optimizer=True)
    """

    def __init__(
        self,
        stage: int = 2,
        offload_optimizer: bool = False,
        offload_params: bool = False,
        config: Mapping[str, Any] | None = None,
    ):
        if stage not in (2, 3):
            raise ValueError(f'strategy.stage must be 2 or 3, got {stage!r}: without ZeRO take DDP')
        if offload_params and stage != 3:
            raise ValueError('strategy.offload_params needs stage=3: stage 2 keeps the parameters on each process')
        if importlib.util.find_spec('deepspeed') is None:
            raise ImportError(f"strategy 'DeepSpeed' needs DeepSpeed: {INSTALL}")
        self.stage = stage
        self.sharded = stage == 3
        self.addressable = False
        self.offload_optimizer = offload_optimizer
        self.offload_params = offload_params
        self.config = dict(config or {})
        self.engine: Any = None
        self._between: list[nn.Parameter] = []  # what no layer holds, where parameters are spread

    def wrap(self, module: TrainedModule) -> nn.Module:
        """The module whose steps DeepSpeed's engine will take, once there is an optimiser."""
        if get_world_size() == 1:
            self.sharded, self.addressable = False, True
            return module.to(get_device())
        return _EngineModule(module.model)

    def prepare(self, module: nn.Module, optim_wrapper: Any) -> Any:
        """Build DeepSpeed's engine around the module and the optimiser."""
        if get_world_size() == 1:
            return optim_wrapper
        import deepspeed

        # on a CPU it would compile exchanges of its own first, for a minute; gloo's serve as well
        deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False
        optim_wrapper.computes_on(torch.device(get_device()))
        trained = [(name, p) for name, p in module.model.named_parameters() if p.requires_grad]
        wrapper = ZeroOptimWrapper(optim_wrapper, trained)
        module.engine, *_ = deepspeed.initialize(
            model=module, optimizer=optim_wrapper.optimizer, config=self._config(wrapper), dist_init_required=False
        )
        wrapper.engine = self.engine = module.engine
        if self.sharded:
            inside = {id(p) for unit in sharding_units(module.model) for p in unit.parameters()}
            self._between = [p for p in module.parameters() if id(p) not in inside]
            self._gather()
        return wrapper

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """A context in which the first process's model consists of whole parameters, in its host's memory."""
        with whole_parameters(model, _shared, _fetch):
            yield
        self._gather()

    def load(self, model: nn.Module, read: Callable[[], None]) -> None:
        """Let weights be read, and bring them to where the optimiser keeps its own."""
        if self.sharded:
            load_whole(model, _shared, _fetch, _fill, read)
        else:
            read()
        if self.engine is not None:
            self.engine.optimizer.refresh_fp32_params()
            self._gather()

    def _config(self, wrapper: ZeroOptimWrapper) -> dict[str, Any]:
        """DeepSpeed's configuration."""
        clipping = dict(wrapper.clipping)
        norm = clipping.pop('max_norm')
        if set(clipping) - {'norm_type'} or clipping.get('norm_type', 2.0) != 2.0:
            raise ValueError(f'DeepSpeed clips by the 2-norm only: optim_wrapper.clip_grad has {clipping}')
        zero: dict[str, Any] = {'stage': self.stage, 'overlap_comm': self.stage == 2 and torch.cuda.is_available()}
        if self.offload_optimizer:
            zero['offload_optimizer'] = {'device': 'cpu', 'pin_memory': torch.cuda.is_available()}
        if self.offload_params:
            zero['offload_param'] = {'device': 'cpu', 'pin_memory': torch.cuda.is_available()}
        return {
            'train_micro_batch_size_per_gpu': 1,  # counted by mmgpt, as are the windows
            'gradient_accumulation_steps': 1,
            'managed_gradient_accumulation': False,
            'gradient_clipping': 0.0 if norm == float('inf') else norm,
            'zero_allow_untested_optimizer': True,
            'zero_force_ds_cpu_optimizer': False,
            'steps_per_print': 2**62,
            'zero_optimization': zero,
            **self.config,
        }

    def _gather(self) -> None:
        """Gather what lies between the layers, and keep it: the gathering of a layer does not bring it."""
        kept = self.engine.optimizer.persistent_parameters if self._between else []
        known = {id(parameter) for parameter in kept}
        for parameter in self._between:
            parameter.ds_persist = True
            if id(parameter) not in known:
                kept.append(parameter)
        missing = [p for p in self._between if p.ds_status.name == 'NOT_AVAILABLE']
        if missing:
            missing[0].all_gather(missing)


class _EngineModule(JoinedModule):
    """Runs its forward pass in DeepSpeed's engine."""

    engine: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == 'engine':  # it holds this module: it is no part of it
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def train_step(self, data: Batch, optim_wrapper: OptimWrapper) -> dict[str, Any]:
        """As that of the class above, through the engine."""
        batch = to_device(data, self.device)
        with optim_wrapper.optim_context(self):
            sums = self.engine(batch)
        optim_wrapper.update_params(sums)
        return {'sums': sums, 'samples': count_samples(data)}


def _shared(parameter: nn.Parameter) -> bool:
    return hasattr(parameter, 'ds_id')


def _fetch(parameter: nn.Parameter) -> Tensor | None:
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter]):
        return parameter.data.detach().cpu().clone() if is_main_process() else None


def _fill(parameter: nn.Parameter, whole: Tensor | None) -> None:
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters([parameter], modifier_rank=0), torch.no_grad():
        if whole is not None:
            parameter.data.copy_(whole)
