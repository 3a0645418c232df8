"""How a model is spread over processes, and how the processes of a run come together.

A strategy is a plugin of ``mmgpt.registry.STRATEGIES``, named by a config's ``strategy``; the default is ``DDP``, which
on one process is the model itself. ``Strategy`` says what one must have.
"""

from mmgpt.engine.strategies.base import Strategy
from mmgpt.engine.strategies.ddp import DDP
from mmgpt.engine.strategies.deepspeed import DeepSpeed
from mmgpt.engine.strategies.fsdp2 import FSDP2

__all__ = ['DDP', 'FSDP2', 'DeepSpeed', 'Strategy']
