"""Statements about pictures that are true or not: NLVR, NLVR2 and SNLI-VE."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.image_stores.base import digest_in, digest_of
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.picture_bytes import encoded
from mmgpt.data.sources.records import Record, choose
from mmgpt.data.sources.requests import DOES_IT_FOLLOW, IS_IT_TRUE
from mmgpt.data.sources.vqa import WithOptions
from mmgpt.registry import SOURCES
from mmgpt.structures import Medium, Turn


def truth(record: Record) -> tuple[str, tuple[str, str]]:
    """The label as it is written, a boolean in small letters; and the two that it could be, written alike."""
    label = record.get('label')
    label = str(label).lower() if isinstance(label, bool) else label
    for options in (('true', 'false'), ('True', 'False')):
        if label in options:
            return label, options
    record.fail('label', 'true or false')


@SOURCES.register_module()
class Nlvr(WithOptions):
    """NLVR (ACL 2017): lines of ``sentence``, ``label``, ``identifier`` and ``directory``.

    Asked is the sentence and whether it is true; the answer is the label. A picture comes in six orders of its boxes,
    one of which is drawn: ``{split}/images/{directory}/{split}-{identifier}-{0 to 5}.png``, with the split of the
    annotation file's name (train, dev or test).

    Args: as of :class:`~mmgpt.data.sources.vqa.WithOptions`; the options are true and false.
    """

    lines = True
    id_field = 'identifier'

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The sentence with a request, and its label."""
        split = re.search(r'train|dev|test', record.file)
        if split is None:
            raise ValueError(f'{record.where()}: the name of the file should say train, dev or test')
        folder = f'{split[0]}/images/{record.word("directory")}'
        image = f'{folder}/{split[0]}-{record.word("identifier")}-{rng.integers(6)}.png'
        question = f'{record.text("sentence")} {choose(IS_IT_TRUE, rng)}'
        label, options = truth(record)
        given = self.maybe(options, rng)
        return Turn('user', question, (Medium((image,)),), given), Turn('assistant', label)


class SideBySide(ImageStore):
    """A store whose keys may be pairs ``(left, right)``: one picture of two, the right one as high as the left.

    Args:
        images: where either picture lies.
    """

    def __init__(self, images: ImageStore) -> None:
        self.images, self.path, self.max_pixels = images, images.path, images.max_pixels

    @property
    def index(self) -> KeyIndex:
        """The keys of the single pictures."""
        return self.images.index

    def __contains__(self, key: str | tuple[str, str]) -> bool:
        return all(one in self.images for one in key) if isinstance(key, tuple) else key in self.images

    def read(self, key: str | tuple[str, str]) -> bytes:
        """See :meth:`ImageStore.read`; a pair as PNG."""
        if not isinstance(key, tuple):
            return self.images.read(key)
        return encoded(self.open(key))

    def digest(self, key: str | tuple[str, str]) -> bytes | None:
        """See :meth:`ImageStore.digest`; of a pair, of both."""
        if not isinstance(key, tuple):
            return digest_in(self.images, key)
        digests = [digest_in(self.images, one) for one in key]
        return None if None in digests else digest_of(b'pair', *digests)

    def open(self, key: str | tuple[str, str]) -> Image.Image:
        """See :meth:`ImageStore.open`."""
        if not isinstance(key, tuple):
            return self.images.open(key)
        left, right = map(self.images.open, key)
        if right.height != left.height:
            width = max(1, round(right.width * left.height / right.height))
            right = right.resize((width, left.height), Image.Resampling.BICUBIC)
        both = Image.new('RGB', (left.width + right.width, left.height))
        both.paste(left, (0, 0))
        both.paste(right, (left.width, 0))
        return both


_SIDES = re.compile(r'\b(left|right)\b', re.IGNORECASE)
_OTHER = {'left': 'right', 'right': 'left', 'Left': 'Right', 'Right': 'Left', 'LEFT': 'RIGHT', 'RIGHT': 'LEFT'}


@SOURCES.register_module()
class Nlvr2(WithOptions):
    """NLVR2 (arXiv 1811.00491) as LAVIS writes it: a list of ``images`` (left and right), ``sentence`` and ``label``.

    The two pictures stand side by side in one. Asked is the sentence and whether it is true; the answer is the label.
    With ``swap`` the pictures change places, and the words left and right in the sentence do.

    Args:
        annotations, images, options, sample, sample_seed, name: as of :class:`~mmgpt.data.sources.vqa.WithOptions`; the
            options are true and false.
        swap: how often the sides are swapped, from 0 to 1; drawn anew each time.
    """

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        options: float = 0.5,
        swap: float = 0.25,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        if not 0 <= swap <= 1:
            raise ValueError(f'swap must be a fraction from 0 to 1, got {swap}')
        pairs = None if images is None else SideBySide(images)
        super().__init__(annotations, pairs, options, sample, sample_seed, name)
        self.swap = swap

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The sentence with a request, and its label."""
        pair = record.texts('images')
        if len(pair) != 2:
            record.fail('images', 'a list of two strings')
        sentence, (label, options) = record.text('sentence'), truth(record)
        if rng.random() < self.swap:
            pair = pair[::-1]
            sentence = _SIDES.sub(lambda found: _OTHER.get(found[0], _OTHER[found[0].lower()]), sentence)
        question = f'{sentence} {choose(IS_IT_TRUE, rng)}'
        given = self.maybe(options, rng)
        return Turn('user', question, (Medium((tuple(pair),)),), given), Turn('assistant', label)


@SOURCES.register_module()
class SnliVe(WithOptions):
    """SNLI-VE (arXiv 1901.06706): lines of ``Flickr30K_ID``, ``sentence2`` (the hypothesis) and ``gold_label``.

    Asked is the hypothesis and how it relates to the picture; the answer is the label. The pictures' keys are
    ``{Flickr30K_ID}.jpg``.

    Args: as of :class:`~mmgpt.data.sources.vqa.WithOptions`; the options are the three labels.
    """

    lines = True
    id_field = 'pairID'
    labels = ('entailment', 'neutral', 'contradiction')

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The hypothesis with a request, and its label."""
        label = record.text('gold_label')
        if label not in self.labels:
            record.fail('gold_label', ' or '.join(self.labels))
        image = f'{record.word("Flickr30K_ID")}.jpg'
        question = f'{record.text("sentence2")} {choose(DOES_IT_FOLLOW, rng)}'
        return Turn('user', question, (Medium((image,)),), self.maybe(self.labels, rng)), Turn('assistant', label)
