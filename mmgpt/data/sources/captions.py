"""Pictures with captions: MiniGPT-4's and COCO's."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.sources.records import Record, Records, choose
from mmgpt.data.sources.requests import DESCRIBE
from mmgpt.registry import SOURCES
from mmgpt.structures import Medium, Turn


@SOURCES.register_module()
class MiniGPT4(Records):
    """MiniGPT-4's aligned captions (arXiv 2304.10592): ``{"annotations": [{"image_id", "caption"}]}``.

    The question is one of many requests to describe the picture, another one each time. The pictures' keys are
    ``{image_id}.jpg``.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    member = 'annotations'
    id_field = 'image_id'

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """A request and the caption."""
        question = Turn('user', choose(DESCRIBE, rng), (Medium((f'{record.word("image_id")}.jpg',)),))
        return question, Turn('assistant', record.text('caption'))


@SOURCES.register_module()
class CocoCaption(Records):
    """COCO's captions in Karpathy's split: a list of ``image`` and ``caption``, one or a list of them.

    Karpathy's own file is read, too: ``{"images": [{"filepath", "filename", "split", "sentences": [{"raw"}]}]}``, of
    COCO and Flickr30k alike. The question is one of many requests to describe the picture and the answer one of the
    captions, other ones each time. The pictures' keys are the values of ``image``, else ``{filepath}/{filename}``.

    Args:
        annotations, images, sample, sample_seed, name: as of :class:`~mmgpt.data.sources.records.Records`.
        splits: only records of these, such as ``('train', 'restval')``; Karpathy's own file needs it, since it holds
            the test pictures as well.
    """

    member = 'images'

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        splits: Sequence[str] | None = None,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        if isinstance(splits, str):
            raise ValueError(f'splits must be a list of names, got {splits!r}')
        keep = None if splits is None else partial(_is_of, tuple(splits))
        super().__init__(annotations, images, sample, sample_seed, name, keep)
        self.splits = splits

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """A request and a caption."""
        if 'sentences' in record:
            if self.splits is None:
                record.fail('split', "one of those that are asked for: give splits=['train', 'restval']")
            captions = [sentence.text('raw') for sentence in record.records('sentences', at_least=1)]
            image = '/'.join(filter(None, (record.text('filepath', ''), record.text('filename'))))
        else:
            several = isinstance(record.get('caption'), list)
            captions = record.texts('caption', at_least=1) if several else [record.text('caption')]
            image = record.text('image')
        question = Turn('user', choose(DESCRIBE, rng), (Medium((image,)),))
        return question, Turn('assistant', choose(captions, rng))


def _is_of(splits: tuple[str, ...], record: Record) -> bool:
    return record.text('split') in splits
