"""The pictures of the digits demo: handwritten digits of UCI's optdigits (July 1998), as scikit-learn ships them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmgpt.data.picture_bytes import encoded

NUM_TRAIN = 1437  # the pictures before this index are for training, those from it on are never trained on
SIDE = 8  # pixels of a digit's side
MAX_COUNT = 5  # digits of a composed picture


class Digits(NamedTuple):
    """Grey pictures of 8 x 8 pixels and the digits they show."""

    pictures: list[Image.Image]
    labels: np.ndarray  # (N,) int64, 0 to 9

    def indices_by_digit(self) -> list[np.ndarray]:
        """For each digit 0 to 9 the indices of its pictures."""
        return [np.flatnonzero(self.labels == digit) for digit in range(10)]


def load_digit_pictures(held_out: bool = False) -> Digits:
    """The first 1,437 pictures, or the 360 that are held out; these were written by other people.

    Raises:
        ImportError: scikit-learn is missing; the message says what to install.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            'the digits demo takes its pictures from scikit-learn, which is not installed: pip install "mmgpt[demo]"'
        ) from error
    found = load_digits()
    part = slice(NUM_TRAIN, None) if held_out else slice(NUM_TRAIN)
    pictures = [Image.fromarray((image * 255 / 16).round().astype('uint8')) for image in found.images[part]]
    return Digits(pictures, found.target[part].astype(np.int64))


def compose_picture(pictures: Sequence[Image.Image], rng: np.random.Generator) -> Image.Image:
    """Several digits on one black canvas, in the cells of a grid or in a row.

    Args:
        pictures: what is shown, at most ``MAX_COUNT``.
        rng: what the arrangement is drawn from.

    Raises:
        ValueError: there are more pictures than ``MAX_COUNT``.
    """
    if len(pictures) > MAX_COUNT:
        raise ValueError(f'a picture is composed of at most {MAX_COUNT} digits, got {len(pictures)}')
    arrange = _in_row if rng.random() < 0.2 else _in_grid
    (width, height), places = arrange(len(pictures), rng)
    canvas = Image.new('L', (width, height))
    for picture, place in zip(pictures, places, strict=True):
        canvas.paste(picture, place)
    return canvas


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    return encoded(picture)


Arrangement = tuple[tuple[int, int], list[tuple[int, int]]]  # width and height; left and top of each digit


def _in_grid(count: int, rng: np.random.Generator) -> Arrangement:
    sizes = [(w, h) for w in (1, 2, 3) for h in (1, 2, 3) if w * h >= count and abs(w - h) < 2]
    columns, rows = sizes[rng.integers(len(sizes))]
    cell = SIDE + int(rng.integers(3))
    cells = rng.permutation(columns * rows)[:count]
    return (columns * cell, rows * cell), [(int(c) % columns * cell, int(c) // columns * cell) for c in cells]


def _in_row(count: int, rng: np.random.Generator) -> Arrangement:
    cell = SIDE + int(rng.integers(3))
    return (count * cell, SIDE), [(i * cell, 0) for i in range(count)]
