"""What Flamingo models are pretrained on: captioned pictures, and web pages with pictures between their sentences."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from mmgpt.data.image_stores import BadBase64, OversizedImage, decode_base64, open_picture
from mmgpt.data.sources.base import Broken, Source, Unusable
from mmgpt.data.tar_samples import TarSamples
from mmgpt.data.tokens import Tokens
from mmgpt.registry import SOURCES
from mmgpt.structures import IGNORE_INDEX, Medium, Sample, Turn

MAX_PIXELS = 64_000_000


class _Web(Source):
    """Samples of tars. Of what the web holds much is broken: what is, is unusable, and another one is drawn."""

    def __init__(
        self, shards: str | Path | Sequence[str | Path], fields: Mapping[str, Sequence[str]], name: str | None
    ) -> None:
        self.samples = TarSamples(shards, fields)
        super().__init__(name or self.samples.files[0].parent.name)

    def __len__(self) -> int:
        return len(self.samples)

    def find(self, id: str) -> Sample:
        """See :meth:`Source.find`; an id is the names of tar and sample."""
        return self[self.samples.find(id)]

    def id_of(self, index: int) -> str:
        """See :meth:`Source.id_of`."""
        return self.samples.id(index)

    def _sample(self, index: int, turns: Sequence[Turn]) -> Sample:
        return Sample(self.id_of(index), tuple(turns), kind='image', source=self.name)

    def _picture(self, index: int, data: bytes) -> Image.Image:
        try:
            return open_picture(data, self.samples.where(index), MAX_PIXELS)
        except ValueError as error:
            kind = 'oversized_image' if isinstance(error, OversizedImage) else 'corrupt_image'
            raise Broken(str(error), kind) from error


@SOURCES.register_module()
class ImageTextTars(_Web):
    """Pictures with captions, such as LAION's, in tars as img2dataset writes them: ``{key}.jpg`` and ``{key}.txt``.

    A picture may also be base64 text, whatever its file is called.

    Args:
        shards: a folder of tars, a tar, a pattern such as ``laion/{00000..00123}.tar``, or several of them.
        name: of the source; None = the folder's.

    Raises:
        FileNotFoundError, ValueError: see :class:`~mmgpt.data.tar_samples.TarSamples`.
    """

    def __init__(self, shards: str | Path | Sequence[str | Path], name: str | None = None) -> None:
        super().__init__(shards, {'image': ('jpg', 'jpeg', 'png', 'webp'), 'text': ('txt',)}, name)

    def __getitem__(self, index: int) -> Sample:
        caption = self.samples.read(index, 'text').decode('utf-8', errors='replace').strip()
        if not caption:
            raise Broken(f'{self.samples.where(index)} has no caption', 'empty_answer')
        data = self.samples.read(index, 'image')
        with suppress(BadBase64):  # as it should be
            data = decode_base64(data, '')
        medium = Medium((self._picture(index, data),))
        return self._sample(index, [Turn('user', '', (medium,)), Turn('assistant', caption)])


@SOURCES.register_module()
class Mmc4(_Web):
    """Web pages of Multimodal C4 in tars of ``{key}.json``, by OpenFlamingo's rules (arXiv 2308.01390).

    Each sentence gets at most one picture and each picture at most one sentence, so that their similarities add up to
    the most; pairs that are less alike than ``min_similarity`` are dropped. A picture stands before its sentence. A
    page is a system turn, which is what stands before its first picture, and a pair of turns for each picture. Pages
    that ChatGPT wrote have marks where their pictures stand, and no similarities.

    What is left out, another page being drawn: pages without a picture, also after the text is cut to its length; those
    whose picture nothing is trained on after it; half of those with one picture; those with one that is broken.

    Args:
        shards: a folder of tars, a tar, a pattern such as ``laion/{00000..00123}.tar``, or several of them.
        min_similarity: of picture and sentence, CLIP's cosine.
        max_images: of a page; the first ones.
        min_bytes: smaller pictures are icons and the like.
        keep_single: how many of the pages with one picture are kept, from 0 to 1.
        matching: 'optimal' as above, 'stored' takes the sentence that the record names for each picture.
        name: of the source; None = the folder's.

    Raises:
        FileNotFoundError, ValueError: see :class:`~mmgpt.data.tar_samples.TarSamples`.
        ImportError: scipy is missing, which the optimal matching needs; the message says what to install.
    """

    pages = True

    def __init__(
        self,
        shards: str | Path | Sequence[str | Path],
        min_similarity: float = 0.24,
        max_images: int = 6,
        min_bytes: int = 11_000,
        keep_single: float = 0.5,
        matching: Literal['optimal', 'stored'] = 'optimal',
        name: str | None = None,
    ) -> None:
        if not -1 <= min_similarity <= 1:
            raise ValueError(f'min_similarity must be a cosine from -1 to 1, got {min_similarity}')
        if max_images < 1 or min_bytes < 0 or not 0 <= keep_single <= 1:
            raise ValueError(
                'max_images must be at least 1, min_bytes at least 0 and keep_single from 0 to 1, '
                f'got {max_images}, {min_bytes} and {keep_single}'
            )
        if matching not in ('optimal', 'stored'):
            raise ValueError(f"matching must be 'optimal' or 'stored', got {matching!r}")
        if matching == 'optimal':
            _linear_sum_assignment()
        super().__init__(shards, {'page': ('json',)}, name)
        self.min_similarity, self.max_images, self.min_bytes = min_similarity, max_images, min_bytes
        self.keep_single, self.matching = keep_single, matching

    def __getitem__(self, index: int) -> Sample:
        try:
            record = json.loads(self.samples.read(index, 'page'))
            lead, parts = self._written(record) if record.get('is_gpt') else self._matched(record)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            kind = 'bad_base64' if isinstance(error, BadBase64) else 'wrong_type'
            raise Broken(f'{self.samples.where(index)} is no page of MMC4: {error!r}', kind) from error
        if not parts:
            raise Unusable(f'{self.samples.where(index)} has no picture that fits a sentence')
        turns = [Turn('system', lead)]
        for data, text in parts:
            turns += [Turn('user', '', (Medium((self._picture(index, data),)),)), Turn('assistant', text)]
        return self._sample(index, turns)

    def check(self, tokens: Tokens, rng: np.random.Generator) -> None:
        """See :meth:`Source.check`."""
        if not bool((tokens.labels != IGNORE_INDEX).any()):
            raise Unusable('no picture with text after it is left of the page')
        if len(tokens.media) == 1 and rng.random() >= self.keep_single:
            raise Unusable('one picture is left of the page')

    def _matched(self, record: Mapping[str, Any]) -> tuple[str, list[tuple[bytes, str]]]:
        """The text before the first picture, and each picture with the text that follows it."""
        sentences = record['text_list']
        pictures: list[tuple[int, bytes]] = []  # place in the record, data
        for place, entry in enumerate(record['image_info']):
            if encoded := entry.get('image_base64'):
                data = decode_base64(encoded, 'image_base64')
                if len(data) >= self.min_bytes:
                    pictures.append((place, data))
        if not pictures or not sentences:
            return '', []
        pairs = self._pairs(record, [place for place, _ in pictures])[: self.max_images]
        pairs = sorted(pairs, key=lambda pair: pair[1])
        if not all(0 <= sentence < len(sentences) for _, sentence in pairs):
            raise IndexError(f'a picture belongs to a sentence beyond the {len(sentences)} of the page')
        bounds = [sentence for _, sentence in pairs] + [len(sentences)]
        texts = [_join(sentences[start:end]) for start, end in pairwise(bounds)]
        return _join(sentences[: bounds[0]]), [
            (pictures[row][1], text) for (row, _), text in zip(pairs, texts, strict=True)
        ]

    def _pairs(self, record: Mapping[str, Any], places: list[int]) -> list[tuple[int, int]]:
        """Pairs of a picture that is left and a sentence, in the order of the pictures."""
        if self.matching == 'stored':
            entries = [record['image_info'][place] for place in places]
            alike = [(row, e['matched_text_index'], e['matched_sim']) for row, e in enumerate(entries)]
        else:
            similarity = np.array([record['similarity_matrix'][place] for place in places], float)
            rows, columns = _linear_sum_assignment()(similarity, maximize=True)
            alike = [
                (row, column, similarity[row, column])
                for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
            ]
        return [(row, column) for row, column, value in alike if value >= self.min_similarity]

    def _written(self, record: Mapping[str, Any]) -> tuple[str, list[tuple[bytes, str]]]:
        """As :meth:`_matched`, of a page with marks. Where it has too many, it ends before the last that could be."""
        images = record['image_map']
        marks = '|'.join(map(re.escape, sorted(images, key=len, reverse=True)))
        pieces = re.split(f'({marks})', _whole(record['example'])) if images else [record['example']]
        names, texts = pieces[1::2], pieces[2::2]
        if len(names) > self.max_images:  # as published
            names, texts = names[: self.max_images - 1], texts[: self.max_images - 1]
        data = [decode_base64(images[name]['base64_image'], name) for name in names]
        return pieces[0].strip(), [(image, text.strip()) for image, text in zip(data, texts, strict=True)]


def _join(sentences: Sequence[str]) -> str:
    return _whole(' '.join(sentences)).strip()


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can hold and no tokenizer reads."""
    return text.encode('utf-8', 'ignore').decode()


def _linear_sum_assignment() -> Any:
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError('matching the pictures of MMC4 needs scipy: pip install "mmgpt[pretraining]"') from error
    return linear_sum_assignment
