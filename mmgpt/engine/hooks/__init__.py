"""What happens between iterations: logs, the progress display, samples and gates, checkpoints, curves.

MMEngine's hook stages and priorities hold: an iteration's figures are logged (BELOW_NORMAL), then schedulers step
(LOW), then the console shows the figures and the checkpoint is written (VERY_LOW).
"""

from mmgpt.engine.hooks.checkpoint import CheckpointHook as CheckpointHook
from mmgpt.engine.hooks.curves import CurvesHook as CurvesHook
from mmgpt.engine.hooks.feature_cache import FeatureCacheHook as FeatureCacheHook
from mmgpt.engine.hooks.gates import GatesHook as GatesHook
from mmgpt.engine.hooks.logger import LoggerHook as LoggerHook
from mmgpt.engine.hooks.non_finite import NonFiniteHook as NonFiniteHook
from mmgpt.engine.hooks.progress import ProgressHook as ProgressHook
from mmgpt.engine.hooks.samples import SamplesHook as SamplesHook
from mmgpt.engine.hooks.stop import StopHook as StopHook
from mmgpt.engine.hooks.unreadable import UnreadableHook as UnreadableHook

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
