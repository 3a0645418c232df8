"""How a model is spread over processes, and how the processes of a run come together.

A strategy is a plugin of ``mmgpt.registry.STRATEGIES``, named by a config's ``strategy``; the default is ``DDP``, which
on one process is the model itself. ``Strategy`` says what one must have.
"""

from mmgpt.engine.strategies.base import Strategy
from mmgpt.engine.strategies.ddp import DDP

__all__ = ['DDP', 'Strategy']
