"""The vision tower of Hugging Face's CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from mmgpt.models.vision_encoders.hugging_face import load_tower
from mmgpt.models.vision_encoders.normalisation import CLIP_MEAN, CLIP_STD
from mmgpt.registry import VISION_ENCODERS

SHAPE = (
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'image_size',
    'patch_size',
    'hidden_act',
)


@VISION_ENCODERS.register_module()
class ClipVision(nn.Module):
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

    config_class = CLIPVisionConfig

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        normalize_patches: bool = False,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(self.config_class(**(config or {})))
        self.normalize_patches = normalize_patches
        self.mean, self.std = tuple(mean), tuple(std)
        self.width: int = self.tower.config.hidden_size
        self.image_size: int = self.tower.config.image_size

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> patches (N, P, D)."""
        patches = self.tower(pixel_values=frames).last_hidden_state[:, 1:]
        return self.tower.post_layernorm(patches) if self.normalize_patches else patches

    def load_weights(self, source: str, revision: str | None = None) -> None:
        """Loads a tower that ``CLIPModel`` or ``CLIPVisionModel`` saved: a folder or a hub id.

        Raises:
            OSError: there is none, or it has to be downloaded and cannot be.
            ValueError: its shape is not this tower's, or its weights are not whole.
        """
        loaded = load_tower(CLIPVisionModel, source, revision=revision, dtype=self.tower.dtype)
        ours, theirs = self.tower.config.to_diff_dict(), loaded.config.to_diff_dict()
        differing = [key for key in SHAPE if getattr(self.tower.config, key) != getattr(loaded.config, key)]
        if differing:
            raise ValueError(
                f'the vision weights {source!r} do not fit the config: '
                + ', '.join(f'{key} is {theirs.get(key)}, the config says {ours.get(key)}' for key in differing)
            )
        self.tower = loaded  # its weights stay mapped to their file until they are trained
