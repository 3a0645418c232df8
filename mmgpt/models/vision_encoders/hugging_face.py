"""Vision towers of Hugging Face: what they share, SigLIP, SigLIP 2 and DINOv2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    PretrainedConfig,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from mmgpt.models.vision_encoders.normalisation import IMAGENET_MEAN, IMAGENET_STD, SIGLIP_MEAN, SIGLIP_STD
from mmgpt.registry import VISION_ENCODERS

SHAPE = (
    'hidden_size',
    'intermediate_size',  # of CLIP and SigLIP
    'mlp_ratio',  # this and the next of DINOv2
    'use_swiglu_ffn',
    'num_hidden_layers',
    'num_attention_heads',
    'image_size',
    'patch_size',
    'hidden_act',
)


class HuggingFaceVision(nn.Module):
    """Patch features of a tower of transformers, after its final LayerNorm; subclasses say which tower it is.

    Args:
        config: arguments of the tower's configuration. Default: that configuration's own defaults.
        normalize_patches: False takes the patches before the final LayerNorm. Default True: these towers were trained
            to be read after it.
        mean, std: per channel, of the pictures that the weights were trained on. Default: the tower's.
    """

    config_class: ClassVar[type[PretrainedConfig]]
    tower_class: ClassVar[type[PreTrainedModel]]
    pictures: ClassVar[tuple[Sequence[float], Sequence[float]]]  # mean and standard deviation per channel
    tower_arguments: ClassVar[dict[str, Any]] = {}
    prefix_tokens: ClassVar[int] = 0  # how many tokens come before the patches

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        normalize_patches: bool = True,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.tower = self.tower_class(self.config_class(**{**self.tower_arguments, **(config or {})}))
        self.normalize_patches = normalize_patches
        self.mean, self.std = tuple(mean or self.pictures[0]), tuple(std or self.pictures[1])
        self.width: int = self.tower.config.hidden_size
        self.image_size: int = self.tower.config.image_size

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> patches (N, P, D)."""
        output = self.tower(pixel_values=frames, output_hidden_states=not self.normalize_patches)
        tokens = output.last_hidden_state if self.normalize_patches else output.hidden_states[-1]
        return tokens[:, self.prefix_tokens :]

    def load_weights(self, source: str, revision: str | None = None) -> None:
        """Loads a tower that the tower's class, or the whole model that it is a part of, saved: a folder or a hub id.

        Raises:
            OSError: there is none, or it has to be downloaded and cannot be.
            ValueError: its shape is not this tower's, or its weights are not whole.
        """
        how = dict(revision=revision, dtype=self.tower.dtype, **self.tower_arguments)
        loaded, info = self.tower_class.from_pretrained(source, output_loading_info=True, **how)
        if missing := sorted(info['missing_keys']):
            raise ValueError(f'the vision weights {source!r} are not whole; missing: {", ".join(missing[:10])}')
        pairs = {key: [getattr(it.config, key, None) for it in (loaded, self.tower)] for key in SHAPE}
        differing = [
            f'{key} is {there}, the config says {ours}' for key, (there, ours) in pairs.items() if there != ours
        ]
        if differing:
            raise ValueError(f'the vision weights {source!r} do not fit the config: {", ".join(differing)}')
        self.tower = loaded  # its weights stay mapped to their file until they are trained


@VISION_ENCODERS.register_module()
class SiglipVision(HuggingFaceVision):
    """The vision tower of SigLIP (arXiv 2303.15343), and of SigLIP 2 (arXiv 2502.14786) at a fixed resolution.

    Hugging Face keeps both in the same classes; the tower has no class token and its pooling head is left out. For the
    arguments see :class:`HuggingFaceVision`; ``config`` are those of ``transformers.SiglipVisionConfig``.

    Example:
        >>> import torch
        >>> shape = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        >>> SiglipVision(dict(**shape, image_size=32, patch_size=8))(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 16, 16])
    """

    config_class, tower_class = SiglipVisionConfig, SiglipVisionModel
    pictures = (SIGLIP_MEAN, SIGLIP_STD)
    tower_arguments: ClassVar = {'vision_use_head': False}


@VISION_ENCODERS.register_module()
class Dinov2Vision(HuggingFaceVision):
    """DINOv2 (arXiv 2304.07193), without its class token.

    For the arguments see :class:`HuggingFaceVision`; ``config`` are those of ``transformers.Dinov2Config``.

    Example:
        >>> import torch
        >>> shape = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
        >>> Dinov2Vision(dict(**shape, image_size=28, patch_size=14))(torch.randn(2, 3, 28, 28)).shape
        torch.Size([2, 4, 16])
    """

    config_class, tower_class = Dinov2Config, Dinov2Model
    pictures = (IMAGENET_MEAN, IMAGENET_STD)
    prefix_tokens = 1
