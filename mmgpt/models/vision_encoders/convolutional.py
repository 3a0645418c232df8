"""A small convolutional tower, for models that are trained from scratch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmgpt.models.vision_encoders.normalisation import SIGLIP_MEAN, SIGLIP_STD
from mmgpt.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class ConvVision(nn.Module):
    """Convolutions of 3 x 3 with stride 2, each with GroupNorm and GELU, and an embedding of each patch's place.

    On small pictures that a model is trained on from scratch it needs far fewer of them than a vision transformer to
    tell apart what it has never seen, since what it learns at one place holds at all of them.

    Args:
        channels: of each layer, multiples of ``groups``; the last is the width of the features (D).
        image_size: height and width of the pictures; each layer halves them.
        groups: of the norms.
        mean, std: per channel, of the pictures.

    Raises:
        ValueError: ``image_size`` cannot be halved so often, or ``groups`` does not divide the channels.

    Example:
        >>> ConvVision(channels=(8, 16), image_size=32)(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 64, 16])
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128),
        image_size: int = 32,
        groups: int = 4,
        mean: Sequence[float] = SIGLIP_MEAN,
        std: Sequence[float] = SIGLIP_STD,
    ) -> None:
        super().__init__()
        if not channels or image_size % 2 ** len(channels):
            raise ValueError(
                f'each of the {len(channels)} layers halves the picture, which image_size {image_size} does not allow'
            )
        if any(width % groups for width in channels):
            raise ValueError(f'channels must be multiples of groups, got {tuple(channels)} and {groups}')
        layers = []
        for inner, outer in zip((3, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(inner, outer, 3, stride=2, padding=1), nn.GroupNorm(groups, outer), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.places = nn.Parameter(0.2 * torch.randn((image_size // 2 ** len(channels)) ** 2, channels[-1]))
        self.mean, self.std = tuple(mean), tuple(std)
        self.width: int = channels[-1]
        self.image_size = image_size

    def forward(self, frames: Tensor) -> Tensor:
        """Normalised frames (N, 3, H, W) -> patches (N, P, D)."""
        return self.layers(frames).flatten(2).transpose(1, 2) + self.places

    def load_weights(self, source: str, revision: str | None = None) -> None:
        """There are no published weights of it.

        Raises:
            ValueError: always.
        """
        raise ValueError(f'ConvVision is trained from scratch, and has no published weights to load: got {source!r}')
