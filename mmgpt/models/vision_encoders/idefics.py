"""The vision tower of Idefics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers.models.idefics.configuration_idefics import IdeficsVisionConfig
from transformers.models.idefics.vision import IdeficsVisionTransformer

from mmgpt.models.vision_encoders.normalisation import CLIP_MEAN, CLIP_STD
from mmgpt.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class IdeficsVision(nn.Module):
    """Idefics' CLIP tower (arXiv 2306.16527): class token and patches, before the final LayerNorm.

    Pictures of another size than the tower's are taken too: its position embeddings are interpolated.

    Args:
        config: arguments of transformers' ``IdeficsVisionConfig``. Default: its own defaults.
        mean, std: per channel, of the pictures that the weights were trained on. Default: CLIP's.

    Example:
        >>> import torch
        >>> shape = dict(embed_dim=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> encoder = IdeficsVision(dict(**shape, image_size=32, patch_size=8))
        >>> encoder(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 17, 16])
    """

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        shape = IdeficsVisionConfig(**(config or {}))
        shape._attn_implementation = 'sdpa'  # the tower, no model of its own to transformers, does not choose one
        self.tower = IdeficsVisionTransformer(shape)
        self.mean, self.std = tuple(mean), tuple(std)
        self.width: int = shape.embed_dim
        self.image_size: int = shape.image_size

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> class token and patches (N, 1 + P, D)."""
        other_size = frames.shape[-2:] != (self.image_size, self.image_size)
        return self.tower(frames, interpolate_pos_encoding=other_size).last_hidden_state
