"""Questions about pictures with ten people's answers: VQAv2, OK-VQA, TextVQA, VizWiz (their VQA-format files)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mmgpt.evaluation.items import Answer, Generation, Item, Scores
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.files import need, read_json, records_of
from mmgpt.evaluation.tasks.groups import by_group
from mmgpt.registry import EVALUATION_TASKS, METRICS
from mmgpt.structures import Medium

WHERE = {
    'vqav2': 'https://visualqa.org/download.html, pictures of MS-COCO',
    'ok_vqa': 'https://okvqa.allenai.org/download.html, pictures of MS-COCO',
    'textvqa': 'https://textvqa.org/dataset, converted to the VQA format',
    'vizwiz': 'https://vizwiz.org/tasks-and-datasets/vqa, converted to the VQA format',
}
CUTS = re.compile('Question|Answer|Short')


@EVALUATION_TASKS.register_module()
class VQA(EvaluationTask):
    """A data set in the VQA format: a file of questions and a file of annotations, aligned by ``question_id``.

    The answer is cut before the first of 'Question', 'Answer' and 'Short', then before the first comma and blank. The
    figure is VQA accuracy, also by type of question and of answer. Written are ``results.json``, as official scorers
    and test servers take it; for VizWiz ``vizwiz.json`` in its server's form.

    Args:
        questions: the file of questions that are asked.
        annotations: their answers; None for a test set, whose are not published.
        images: the folder of their pictures. Its name ends with the split (``val2014``) where ``picture='coco'``.
        train_questions: of what demonstrations are taken from; None: there are none.
        train_annotations: as ``annotations``.
        train_images: as ``images``.
        name: of the data set: 'vqav2', 'ok_vqa', 'textvqa', 'vizwiz', or another.
        picture: how a picture's file is called: 'coco' ``COCO_{split}_{image_id:012d}.jpg``, 'id' the image id itself,
            'jpg' the id with ``.jpg``. Default: as the data set has it.
        all_questions: a file of questions all of which the file for the test server must list, those that were not
            asked with an empty answer (VQAv2). Default: all of ``questions``.
        stems: bring words to their stems, as OK-VQA's annotations are. Default: for 'ok_vqa'.
        metric: config of the metric.

    Raises:
        ValueError: ``picture`` is not given for another data set than those four, or train files are incomplete.
    """

    kind = 'vqa'
    main = 'accuracy'

    def __init__(
        self,
        questions: str,
        annotations: str | None,
        images: str,
        train_questions: str | None = None,
        train_annotations: str | None = None,
        train_images: str | None = None,
        name: str = 'vqav2',
        picture: Literal['coco', 'id', 'jpg'] | None = None,
        all_questions: str | None = None,
        stems: bool | None = None,
        metric: dict[str, Any] | None = None,
    ) -> None:
        usual = {'vqav2': 'coco', 'ok_vqa': 'coco', 'textvqa': 'jpg', 'vizwiz': 'id'}
        self.picture = picture or usual.get(name)
        if self.picture not in ('coco', 'id', 'jpg'):
            raise ValueError(f"picture must be 'coco', 'id' or 'jpg', got {picture!r} for the data set {name!r}")
        train = (train_questions, train_annotations, train_images)
        if any(train) and not all(train):
            raise ValueError('train_questions, train_annotations and train_images go together: give all or none')
        self.name = name
        self.stems = name == 'ok_vqa' if stems is None else stems
        self.answering = Generation(max_new_tokens=10 if name == 'textvqa' else 5, num_beams=3, length_penalty=0.0)
        self.metric = METRICS.build(metric or dict(type='VQAAccuracy'))
        self._asked, self._train, self._all = (questions, annotations, images), train, all_questions

    @cached_property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items(*self._asked, prefix='')

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items(*self._train, prefix='train_') if self._train[0] else ()

    def instruction(self, item: Item) -> str:
        """See :class:`EvaluationTask`."""
        return f'{item.question} Please answer in short words.'

    def clean(self, text: str) -> str:
        """See :class:`EvaluationTask`."""
        text = CUTS.split(text, maxsplit=1)[0].split(', ', 1)[0].strip()
        if self.stems:
            from mmgpt.evaluation.tasks.stems import stem

            text = stem(text)
        return text

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        if self.unpublished(items):
            return Scores({})
        figures, each = self.metric([answer.text for answer in answers], [item.references for item in items])

        def accuracy(places: list[int]) -> float:
            few = [answers[place].text for place in places], [items[place].references for place in places]
            return self.metric(*few)[0][self.main]

        return Scores(figures, each, by_group(items, ('question_type', 'answer_type'), accuracy))

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """See :class:`EvaluationTask`."""
        given = {item.id: answer.text for item, answer in zip(items, answers, strict=True)}
        ids = [item.id for item in self.queries]
        if self._all is not None:
            path = need(self._all, 'all_questions', WHERE.get(self.name, self.name))
            ids = [record['question_id'] for record in records_of(read_json(path), path, 'questions', ('question_id',))]
        files = {'results.json': [{'question_id': id, 'answer': given.get(id, '')} for id in ids]}
        if self.name == 'vizwiz':
            names = [Path(item.media[0].frames[0]).name for item in items]
            files['vizwiz.json'] = [
                {'image': name, 'answer': answer.text} for name, answer in zip(names, answers, strict=True)
            ]
        return files

    def _items(self, questions: str, annotations: str | None, images: str, prefix: str) -> list[Item]:
        where = WHERE.get(self.name, 'the files of ' + self.name)
        path = need(questions, f'{prefix}questions', where)
        folder = need(images, f'{prefix}images', where)
        asked = records_of(read_json(path), path, 'questions', ('question_id', 'image_id', 'question'))
        answers: dict[Any, Mapping[str, Any]] = {}
        if annotations is not None:
            beside = need(annotations, f'{prefix}annotations', where)
            given = records_of(read_json(beside), beside, 'annotations', ('question_id', 'answers'))
            for number, record in enumerate(given):
                _check_answers(record['answers'], f'{beside}, annotations[{number}]')
            answers = {record['question_id']: record for record in given}
            missing = [record['question_id'] for record in asked if record['question_id'] not in answers]
            if missing:
                raise ValueError(
                    f'{beside} has no answers to {len(missing)} questions of {path}, such as question_id '
                    f'{missing[0]!r}: they belong to different splits'
                )
        return [self._item(record, answers.get(record['question_id']), folder) for record in asked]

    def _item(self, record: Mapping[str, Any], answered: Mapping[str, Any] | None, folder: Path) -> Item:
        return Item(
            id=record['question_id'],
            question=record['question'],
            answer='' if answered is None else answered['answers'][0]['answer'],
            media=(Medium((str(folder / self._file(record['image_id'], folder)),)),),
            references=None if answered is None else answered['answers'],
            about={key: (answered or {}).get(key, '') for key in ('question_type', 'answer_type')},
        )

    def _file(self, image_id: Any, folder: Path) -> str:
        if self.picture == 'coco':
            return f'COCO_{folder.name}_{int(image_id):012d}.jpg'
        return f'{image_id}.jpg' if self.picture == 'jpg' else str(image_id)


def _check_answers(answers: Any, where: str) -> None:
    """Raises a ValueError where ``answers`` is no list of records with text under ``answer``."""
    fine = isinstance(answers, list) and all(
        isinstance(each, Mapping) and isinstance(each.get('answer'), str) for each in answers
    )
    if not fine or not answers:
        raise ValueError(f"{where}: 'answers' should be a list such as [{{'answer': 'dog'}}], and is {answers!r:.80}")
