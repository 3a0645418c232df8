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

__all__ = [
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
