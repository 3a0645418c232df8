"""How far the gated blocks have opened."""

from __future__ import annotations

from mmengine.hooks import Hook
from torch import nn

from mmgpt.engine.shards import whole
from mmgpt.registry import HOOKS


@HOOKS.register_module()
class GatesHook(Hook):
    """Logs tanh of every gate, as ``gates/{layer}.{attn|ff}``.

    Args:
        interval: iterations between two entries.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 50):
        self.interval = interval

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Log where it is due."""
        if self.every_n_train_iters(runner, self.interval) or runner.iter + 1 == runner.max_iters:
            runner.visualizer.add_scalars(gate_values(runner.bare_model), step=runner.iter + 1)


def gate_values(model: nn.Module) -> dict[str, float]:
    """tanh of each parameter named ``gated_blocks.{layer}.….{part}_gate``, by ``gates/{layer}.{part}``.

    Of a gate per channel it is the mean.
    """
    gates = [(name, whole(gate.detach()).float()) for name, gate in model.named_parameters() if name.endswith('_gate')]
    return {
        f'gates/{name.removeprefix("gated_blocks.").removesuffix("_gate")}': gate.tanh().mean().item()
        for name, gate in gates
    }
