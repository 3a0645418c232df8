"""The vision tower of Idefics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers.models.idefics.configuration_idefics import IdeficsVisionConfig
from transformers.models.idefics.modeling_idefics import IdeficsPreTrainedModel
from transformers.models.idefics.vision import IdeficsVisionTransformer

from mmgpt.models.vision_encoders.normalisation import CLIP_MEAN, CLIP_STD
from mmgpt.registry import VISION_ENCODERS


class IdeficsVisionTower(IdeficsPreTrainedModel):
    """Makes transformers' tower, a part of its Idefics, a model that transformers initialises and loads."""

    config: IdeficsVisionConfig
    _keys_to_ignore_on_load_unexpected = (r'^(?!.*vision_model\.)', r'position_ids$')  # the rest of Idefics

    def __init__(self, config: IdeficsVisionConfig) -> None:
        super().__init__(config)
        self.vision_model = IdeficsVisionTransformer(config)
        self.post_init()


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

    config_class = IdeficsVisionConfig

    def __init__(
        self,
        config: dict[str, Any] | None = None,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
    ) -> None:
        super().__init__()
        self.tower = IdeficsVisionTower(self.config_class(**(config or {})))
        self.mean, self.std = tuple(mean), tuple(std)
        self.width: int = self.tower.config.embed_dim
        self.image_size: int = self.tower.config.image_size

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> class token and patches (N, 1 + P, D)."""
        other_size = frames.shape[-2:] != (self.image_size, self.image_size)
        return self.tower.vision_model(frames, interpolate_pos_encoding=other_size).last_hidden_state

    def load_weights(self, source: str, revision: str | None = None) -> None:
        """Loads the tower of an Idefics: a folder or a hub id.

        Raises:
            OSError: there is none, or it has to be downloaded and cannot be.
            ValueError: it has another shape, or holds no such tower.
        """
        how = dict(revision=revision, dtype=self.tower.dtype, config=self.tower.config, ignore_mismatched_sizes=True)
        loaded, info = IdeficsVisionTower.from_pretrained(source, output_loading_info=True, **how)
        faults = [*info['missing_keys'], *info['unexpected_keys'], *(entry[0] for entry in info['mismatched_keys'])]
        if faults:
            raise ValueError(
                f'the vision weights {source!r} do not fit the config; missing, left over or of another shape: '
                + ', '.join(sorted(faults)[:5])
                + (f' and {len(faults) - 5} more' if len(faults) > 5 else '')
            )
        self.tower = loaded  # its weights stay mapped to their file until they are trained
