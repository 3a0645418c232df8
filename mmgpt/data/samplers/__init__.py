"""The order of the stream of batches."""

from mmgpt.data.samplers.alternating import AlternatingSampler
from mmgpt.data.samplers.mixture import MixtureSampler

__all__ = ['AlternatingSampler', 'MixtureSampler']
