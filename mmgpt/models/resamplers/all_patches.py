"""No resampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmgpt.registry import RESAMPLERS


@RESAMPLERS.register_module()
class AllPatches(nn.Module):
    """Hands on every patch as a latent, for models without a resampler. A medium is one picture.

    Args:
        width: width of the features (D).

    Example:
        >>> AllPatches(width=8)(torch.randn(5, 1, 16, 8)).shape  # 5 pictures of 16 patches
        torch.Size([5, 16, 8])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, features: Tensor, frame_mask: Tensor | None = None, media_index: Tensor | None = None) -> Tensor:
        """(M, 1, P, D) -> (M, P, D).

        Raises:
            ValueError: a medium has several frames.
        """
        if features.shape[1] != 1:
            raise ValueError(
                f'a medium has {features.shape[1]} frames, and a model without a resampler takes one picture per '
                'medium: give each picture its own <image> mark'
            )
        return features.squeeze(1)

    def patch_weights(
        self, features: Tensor, frame_mask: Tensor | None = None, media_index: Tensor | None = None
    ) -> Tensor:
        """Which patch each latent was made of: (M, L, 1, P), the identity. Arguments as of ``forward``."""
        media, frames, patches, _ = features.shape
        return torch.eye(patches, device=features.device).view(1, patches, frames, patches).expand(media, -1, -1, -1)
