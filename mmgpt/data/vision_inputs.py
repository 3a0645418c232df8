"""Pictures become uint8 frames of one size; augmentations, drawn from a generator that is passed in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmgpt.registry import TRANSFORMS

_INTERPOLATIONS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}


class Transform(Protocol):
    """An augmentation. It draws from ``rng`` alone, so that a resumed run sees the same pictures."""

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A changed copy of the picture."""
        ...


class ImageTransform:
    """Makes a picture the square uint8 frame that a vision encoder takes; the model normalises it on its device.

    Args:
        size: height and width in pixels.
        resize: 'squash' resizes to the square without keeping the aspect (Otter's training); 'short_side_crop'
            resizes the short side and cuts out the centre (CLIP's processor).
        interpolation: 'bicubic', 'bilinear', 'lanczos' or 'nearest'.

    Example:
        >>> ImageTransform(32)(Image.new('RGB', (64, 48))).shape
        torch.Size([3, 32, 32])
    """

    def __init__(
        self,
        size: int,
        resize: Literal['squash', 'short_side_crop'] = 'squash',
        interpolation: Literal['bicubic', 'bilinear', 'lanczos', 'nearest'] = 'bicubic',
    ) -> None:
        if not isinstance(size, int) or size < 1:
            raise ValueError(f'size must be a positive number of pixels, got {size!r}')
        if resize not in ('squash', 'short_side_crop'):
            raise ValueError(f"resize must be 'squash' or 'short_side_crop', got {resize!r}")
        if interpolation not in _INTERPOLATIONS:
            raise ValueError(f'interpolation must be one of {sorted(_INTERPOLATIONS)}, got {interpolation!r}')
        self.size = size
        self.resize = resize
        self.interpolation = interpolation

    def __call__(
        self,
        picture: Image.Image,
        augment: Sequence[Transform] = (),
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """Resizes, then augments.

        Args:
            picture: of any mode and size.
            augment: augmentations in order; they see the picture at its final size.
            rng: what they draw from; needed when there are any.

        Returns:
            (3, size, size) uint8.
        """
        if augment and rng is None:
            raise ValueError('augmentations need a generator to draw from: pass rng')
        picture = self.resized(picture)
        for transform in augment:
            picture = transform(picture, rng)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()

    def to_dict(self) -> dict[str, Any]:
        """The arguments that build this transform again."""
        return {'size': self.size, 'resize': self.resize, 'interpolation': self.interpolation}

    def resized(self, picture: Image.Image) -> Image.Image:
        """The picture as RGB and in its final size; one that is so already is returned as it is."""
        picture = picture if picture.mode == 'RGB' else picture.convert('RGB')
        method = _INTERPOLATIONS[self.interpolation]
        size = (self.size, self.size)
        if self.resize == 'squash' or picture.width == picture.height:
            return picture if picture.size == size else picture.resize(size, method)
        scale = self.size / min(picture.size)
        width, height = (max(self.size, round(side * scale)) for side in picture.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        return picture.resize((width, height), method).crop((left, top, left + self.size, top + self.size))


@TRANSFORMS.register_module()
class RandomAffine:
    """Turns, moves, stretches and shears a picture at random; what comes in from outside is filled.

    Args:
        degrees: largest turn to either side.
        translate: largest move, as a fraction of the side.
        scale: smallest and largest factor.
        shear: largest shear in degrees.
        fill: grey value (0 to 255) of what comes in from outside.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        fill: int = 0,
    ) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f'scale must be two factors 0 < low <= high, got {scale}')
        self.degrees, self.translate, self.scale, self.shear, self.fill = degrees, translate, tuple(scale), shear, fill

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A changed copy."""
        turn = math.radians(rng.uniform(-self.degrees, self.degrees))
        slant = math.tan(math.radians(rng.uniform(-self.shear, self.shear)))
        factor = rng.uniform(*self.scale)
        dx, dy = (rng.uniform(-self.translate, self.translate) * side for side in picture.size)
        # Pillow wants the inverse map: from a place of the result to one of the picture.
        cos, sin = math.cos(turn) / factor, math.sin(turn) / factor
        a, b, d, e = cos, sin + slant * cos, -sin, cos - slant * sin
        x, y = picture.width / 2, picture.height / 2
        c = x - a * (x + dx) - b * (y + dy)
        f = y - d * (x + dx) - e * (y + dy)
        fill = (self.fill,) * 3
        return picture.transform(
            picture.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BICUBIC, fillcolor=fill
        )


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirrors a picture at random, left to right.

    Args:
        share: of the pictures that are mirrored, from 0 to 1.
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f'share must be from 0 to 1, got {share}')
        self.share = share

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The picture, or its mirror image."""
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < self.share else picture


@TRANSFORMS.register_module()
class RandomBrightness:
    """Changes contrast and brightness at random: ``picture * gain + bias``.

    Args:
        gain: largest deviation of the factor from 1.
        bias: largest value (0 to 255) that is added or taken away.
    """

    def __init__(self, gain: float = 0.0, bias: float = 0.0) -> None:
        self.gain, self.bias = gain, bias

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
        """A changed copy."""
        gain, bias = 1 + rng.uniform(-self.gain, self.gain), rng.uniform(-self.bias, self.bias)
        table = [round(min(255.0, max(0.0, value * gain + bias))) for value in range(256)]
        return picture.point(table * 3)
