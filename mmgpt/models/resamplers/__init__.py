"""Resamplers: any number of patches and frames of a medium -> a fixed number of latents."""

from mmgpt.models.resamplers.all_patches import AllPatches as AllPatches
from mmgpt.models.resamplers.perceiver import PerceiverResampler as PerceiverResampler
