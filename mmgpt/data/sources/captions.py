"""Pictures with captions: MiniGPT-4's and COCO's."""

from __future__ import annotations

import numpy as np

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

    The question is one of many requests to describe the picture and the answer one of the captions, other ones each
    time. The pictures' keys are the values of ``image``.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """A request and a caption."""
        several = isinstance(record.get('caption'), list)
        captions = record.texts('caption', at_least=1) if several else [record.text('caption')]
        question = Turn('user', choose(DESCRIBE, rng), (Medium((record.text('image'),)),))
        return question, Turn('assistant', choose(captions, rng))
