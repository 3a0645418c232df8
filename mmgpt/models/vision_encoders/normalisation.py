"""What frames look like before they enter an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # per channel, of the pictures that CLIP was trained on
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
SIGLIP_MEAN = SIGLIP_STD = (0.5, 0.5, 0.5)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise(frames: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype) -> Tensor:
    """uint8 frames (N, 3, H, W) -> floats of mean 0 and standard deviation 1 per channel of the training pictures.

    Float frames are taken as normalised already and only cast to ``dtype``.
    """
    if frames.dtype != torch.uint8:
        return frames.to(dtype)
    shift = torch.tensor(mean, device=frames.device).view(3, 1, 1) * 255
    scale = torch.tensor(std, device=frames.device).view(3, 1, 1) * 255
    return ((frames - shift) / scale).to(dtype)


def encode_frames(encoder: nn.Module, frames: Tensor) -> Tensor:
    """Frames (N, 3, H, W), uint8 or normalised, -> patches (N, P, D) of a vision encoder on their device."""
    dtype = next(encoder.parameters()).dtype
    return encoder(normalise(frames, encoder.mean, encoder.std, dtype))
