"""What happens between iterations: logs, the progress display, samples and gates, checkpoints, curves.

MMEngine's hook stages and priorities hold: an iteration's figures are logged (BELOW_NORMAL), then schedulers step
(LOW), then the console shows the figures and the checkpoint is written (VERY_LOW).
"""

from mmgpt.engine.hooks.checkpoint import CheckpointHook
from mmgpt.engine.hooks.curves import CurvesHook
from mmgpt.engine.hooks.feature_cache import FeatureCacheHook
from mmgpt.engine.hooks.gates import GatesHook
from mmgpt.engine.hooks.logger import LoggerHook
from mmgpt.engine.hooks.non_finite import NonFiniteHook
from mmgpt.engine.hooks.progress import ProgressHook
from mmgpt.engine.hooks.samples import SamplesHook
from mmgpt.engine.hooks.stop import StopHook
from mmgpt.engine.hooks.unreadable import UnreadableHook

DEFAULT_HOOKS = {  # of every run; 'default_hooks' of a config changes them or leaves them out
    'param_scheduler': {'type': 'ParamSchedulerHook'},
    'logger': {'type': 'LoggerHook'},
    'progress': {'type': 'ProgressHook'},
    'gates': {'type': 'GatesHook'},
    'samples': {'type': 'SamplesHook'},
    'non_finite': {'type': 'NonFiniteHook'},
    'unreadable': {'type': 'UnreadableHook'},
    'stop': {'type': 'StopHook'},
    'checkpoint': {'type': 'CheckpointHook'},
    'curves': {'type': 'CurvesHook'},
}

__all__ = [
    'DEFAULT_HOOKS',
    'CheckpointHook',
    'CurvesHook',
    'FeatureCacheHook',
    'GatesHook',
    'LoggerHook',
    'NonFiniteHook',
    'ProgressHook',
    'SamplesHook',
    'StopHook',
    'UnreadableHook',
]
