"""The frames of samples: what makes two of them the same one, and their pixels or features."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from mmgpt.data.address import Address
from mmgpt.data.feature_cache import CachedFrame, FeatureCache, look_up
from mmgpt.data.image_stores import ImageStore
from mmgpt.data.prompter import Prompter
from mmgpt.data.source_entry import SourceEntry
from mmgpt.structures import Medium


class FrameKey(NamedTuple):
    """What makes two frames of a batch the same one."""

    store: int
    key: Hashable
    draw: tuple | None = None  # of its augmentation


class FrameReader:
    """Reads the frames of samples; a picture's augmentation is a function of the seed and the sample's address.

    Args:
        entries: the sources; those that share an image store share their frames.
        prompter: makes frames.
        seed: of augmentation.
        keep_pictures: MiB of pictures, decoded and resized, that are kept.
    """

    def __init__(self, entries: Sequence[SourceEntry], prompter: Prompter, seed: int, keep_pictures: float) -> None:
        self.entries, self.prompter, self.seed = entries, prompter, seed
        self._room = keep_pictures * 2**20  # bytes that are left for pictures
        self._kept: dict[tuple[int, Hashable], Image.Image] = {}
        stores: dict[int, int] = {}
        self._stores = [stores.setdefault(id(entry.source.images), len(stores)) for entry in entries]

    def names(self, address: Address, media: Sequence[Medium]) -> tuple[Medium, ...]:
        """The media of a sample frame by frame, each as a :class:`FrameKey`; reads no pixels."""
        return tuple(Medium(tuple(key for key, _ in medium)) for medium in self._frames_of(address, media))

    def read(
        self,
        address: Address,
        media: Sequence[Medium],
        frames: dict[FrameKey, Tensor | CachedFrame],
        features: FeatureCache | None,
    ) -> tuple[Medium, ...]:
        """The names of a sample's media, as :meth:`names` gives them; puts into ``frames`` those that it lacks.

        Args:
            address: of the sample.
            media: of the sample.
            frames: (3, H, W) uint8, or what ``features`` has of a frame.
            features: where not None, pictures are decoded only where it has none.
        """
        named = []
        for m, medium in enumerate(self._frames_of(address, media)):
            for key, picture in medium:
                if key not in frames:
                    frames[key] = self._frame(address, m, picture, features)
            named.append(Medium(tuple(key for key, _ in medium)))
        return tuple(named)

    def _frames_of(
        self, address: Address, media: Sequence[Medium]
    ) -> Iterator[list[tuple[FrameKey, Hashable | Image.Image]]]:
        """The frames of each medium: what makes two the same one, and the picture or its key."""
        images = self.entries[address.source].source.images
        for m, medium in enumerate(_expand(medium, images) for medium in media):
            yield [(self._frame_key(address, m, f, picture), picture) for f, picture in enumerate(medium.frames)]

    def _frame(
        self, address: Address, medium: int, picture: Hashable | Image.Image, features: FeatureCache | None
    ) -> Tensor | CachedFrame:
        entry = self.entries[address.source]
        images = entry.source.images
        if features is not None:
            return look_up(features, self.prompter, picture, images)
        # The same generator for each frame of a medium: a video moves as one.
        rng = np.random.default_rng((self.seed, *address, medium + 1)) if entry.augment else None
        return self.prompter.frame(self._opened(picture, images), images, entry.augment, rng)

    def _opened(self, picture: Hashable | Image.Image, images: ImageStore | None) -> Hashable | Image.Image:
        """A picture that is kept, or one to keep while there is room; else what it was."""
        if isinstance(picture, Image.Image) or images is None:
            return picture
        key = (id(images), picture)
        if key in self._kept or self._room <= 0:
            return self._kept.get(key, picture)
        opened = self.prompter.image_transform.resized(images.open(picture))
        self._room -= opened.width * opened.height * len(opened.mode)
        self._kept[key] = opened
        return opened

    def _frame_key(self, address: Address, medium: int, frame: int, picture: Hashable | Image.Image) -> FrameKey:
        store = self._stores[address.source]
        if isinstance(picture, Image.Image):  # has no key: known by its place
            return FrameKey(store, (medium, frame), tuple(address))
        return FrameKey(store, picture, (*address, medium) if self.entries[address.source].augment else None)


def _expand(medium: Medium, images: ImageStore | None) -> Medium:
    """The medium frame by frame; a store from outside need not know of any other."""
    return images.expand(medium) if hasattr(images, 'expand') else medium
