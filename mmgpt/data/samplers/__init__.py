"""The order of the stream of batches."""

from mmgpt.data.samplers.alternating import AlternatingSampler
from mmgpt.data.samplers.grouping import LengthGroupedSampler
from mmgpt.data.samplers.mixture import MixtureSampler
from mmgpt.data.samplers.packing import PackingSampler
from mmgpt.data.samplers.windows import WindowSampler

__all__ = ['AlternatingSampler', 'LengthGroupedSampler', 'MixtureSampler', 'PackingSampler', 'WindowSampler']
