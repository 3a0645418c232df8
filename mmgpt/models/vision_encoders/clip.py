"""The vision tower of Hugging Face's CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from mmgpt.models.vision_encoders.hugging_face import HuggingFaceVision
from mmgpt.models.vision_encoders.normalisation import CLIP_MEAN, CLIP_STD
from mmgpt.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class ClipVision(HuggingFaceVision):
    """Patch features of a CLIP vision transformer (arXiv 2103.00020), without its class token.

    Args:
        config: arguments of ``transformers.CLIPVisionConfig``. Default: those of CLIP ViT-B/32.
        normalize_patches: apply the final LayerNorm to the patches. Default False: the published models of this family
            take the last hidden state before it.
        mean, std: per channel, of the pictures that the weights were trained on. Default: CLIP's.

    Example:
        >>> import torch
        >>> shape = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> encoder = ClipVision(dict(**shape, image_size=32, patch_size=8))
        >>> encoder(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 16, 16])
    """

    config_class, tower_class = CLIPVisionConfig, CLIPVisionModel
    pictures = (CLIP_MEAN, CLIP_STD)
    prefix_tokens = 1

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        normalize_patches: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__(config, normalize_patches, mean, std)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> patches (N, P, D)."""
        patches = self.tower(pixel_values=frames).last_hidden_state[:, self.prefix_tokens :]
        return self.tower.post_layernorm(patches) if self.normalize_patches else patches
