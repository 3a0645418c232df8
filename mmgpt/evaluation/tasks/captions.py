"""Captions of pictures: COCO and Flickr30k in Karpathy's splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmgpt.evaluation.items import Answer, Generation, Item, Scores
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.files import need, read_json, records_of
from mmgpt.registry import EVALUATION_TASKS, METRICS
from mmgpt.structures import Medium

WHERE = (
    "Karpathy's dataset_*.json: https://cs.stanford.edu/people/karpathy/deepimagesent; pictures: the data set's site"
)


@EVALUATION_TASKS.register_module()
class Captions(EvaluationTask):
    """Captions pictures; demonstrations are of the split ``train``, asked is ``test`` (Karpathy's file).

    The answer is the text before the first 'Output', without double quotes. The main figure is CIDEr (CIDEr-D) x 100.
    Written are ``results.json`` and ``references.json``, in COCO's forms.

    Args:
        annotations: ``dataset_coco.json`` or ``dataset_flickr30k.json``.
        images: the folder of the pictures.
        val_images: of those whose ``filepath`` is ``val2014``, where they lie apart (COCO).
        name: of the data set: 'coco', 'flickr30k', or another.
        split: that is asked.
        metrics: their configs. The first one's first figure is the main one.
    """

    kind = 'caption'

    def __init__(
        self,
        annotations: str,
        images: str,
        val_images: str | None = None,
        name: str = 'coco',
        split: str = 'test',
        metrics: Sequence[dict[str, Any]] = (dict(type='CIDEr'), dict(type='BLEU'), dict(type='ROUGEL')),
    ) -> None:
        self.name, self.split = name, split
        self.answering = Generation(max_new_tokens=20, num_beams=3, length_penalty=0.0)
        self.metrics = [METRICS.build(dict(metric)) for metric in metrics]
        self.main = self.metrics[0].main
        self._annotations, self._images, self._val_images = annotations, images, val_images

    @cached_property
    def _records(self) -> dict[str, list[Item]]:
        path = need(self._annotations, 'annotations', WHERE)
        folder = need(self._images, 'images', WHERE)
        val = folder if self._val_images is None else need(self._val_images, 'val_images', WHERE)
        splits: dict[str, list[Item]] = {}
        records = records_of(read_json(path), path, 'images', ('filename', 'split', 'sentences'))
        for number, record in enumerate(records):
            _check_sentences(record['sentences'], f'{path}, images[{number}]', needed=record['split'] == self.split)
            splits.setdefault(record['split'], []).append(
                self._item(record, val if record.get('filepath') == 'val2014' else folder)
            )
        if self.split not in splits:
            raise ValueError(f'{path} has no split {self.split!r}; it has {", ".join(map(repr, splits))}')
        return splits

    def _item(self, record: Mapping[str, Any], folder: Path) -> Item:
        captions = [sentence['raw'] for sentence in record['sentences']]
        return Item(
            id=record.get('cocoid', Path(record['filename']).stem),
            answer=captions[0].strip() if captions else '',
            media=(Medium((str(folder / record['filename']),)),),
            references=captions,
        )

    @property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._records[self.split]

    @property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._records.get('train', ())

    def instruction(self, item: Item) -> str:
        """See :class:`EvaluationTask`."""
        return 'What does the image describe?'

    def clean(self, text: str) -> str:
        """See :class:`EvaluationTask`."""
        return re.split('Output', text, maxsplit=1)[0].replace('"', '').strip()

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        texts, references = [answer.text for answer in answers], [item.references for item in items]
        figures, each = {}, None
        for number, metric in enumerate(self.metrics):
            found, of_items = metric(texts, references)
            figures |= found
            each = of_items if number == 0 else each
        return Scores(figures, each)

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """See :class:`EvaluationTask`."""
        given = [{'image_id': item.id, 'caption': answer.text} for item, answer in zip(items, answers, strict=True)]
        pairs = [(item.id, caption) for item in items for caption in item.references]
        said = [{'id': n, 'image_id': id, 'caption': caption} for n, (id, caption) in enumerate(pairs, 1)]
        references = {'images': [{'id': item.id} for item in items], 'annotations': said, 'type': 'captions'}
        return {'results.json': given, 'references.json': {**references, 'info': {}, 'licenses': []}}


def _check_sentences(sentences: Any, where: str, needed: bool) -> None:
    """Raises a ValueError where ``sentences`` is no list of records with text under ``raw``, or lacks a needed one."""
    fine = isinstance(sentences, list) and all(
        isinstance(each, Mapping) and isinstance(each.get('raw'), str) for each in sentences
    )
    if not fine or (needed and not sentences):
        raise ValueError(
            f"{where}: 'sentences' should be a list such as [{{'raw': 'A dog.'}}], and is {sentences!r:.80}"
        )
