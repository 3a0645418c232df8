"""VL-ICL Bench (arXiv 2403.13164): tasks that can be solved from the demonstrations alone, by its published rules.

Its tasks of text to image want a model that draws, and are not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mmgpt.evaluation.items import Answer, Generation, Item, Scores
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.files import list_of, need, read_json
from mmgpt.evaluation.tasks.groups import mean_by_group
from mmgpt.registry import EVALUATION_TASKS
from mmgpt.structures import Medium

WHERE = 'https://huggingface.co/datasets/ys-zong/VL-ICL, unpacked by its unzip.sh'
OPERATORS = {'+': 0, '-': 1, 'x': 2}  # the places of their results in a record's list of answers


class VLICLTask(EvaluationTask):
    """A task of VL-ICL Bench: ``query.json`` and ``support.json`` in the task's folder.

    A reply is cut before its first line break, or where it has none before its first full stop; it must then equal the
    answer but for capitals. Written is ``results.json``, the queries with their ``prediction``, as the published scorer
    takes it.

    Args:
        folder: the data set; pictures are named by paths that begin there.
        preamble: stands before the first example. The published runs put one of two descriptions of the task there,
            or nothing.
    """

    kind = 'vl_icl'
    main = 'accuracy'
    answering = Generation(max_new_tokens=15)
    task: str  # the folder of the task
    keys: tuple[str, ...] = ('image', 'question', 'answer')  # that a query must have
    groups: tuple[str, ...] = ()  # of figures, by what ``about`` says

    def __init__(self, folder: str = 'data/vl_icl', preamble: str = '') -> None:
        self.name = f'vl_icl_{self.task}'
        self.preamble, self._folder = preamble, folder

    @cached_property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        records = self._read('query.json', self.keys)
        return [self._query(record, place) for place, record in enumerate(records)]

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        records = self._read('support.json', ('image', 'question', 'answer'))
        return [self._item(record, str(place)) for place, record in enumerate(records)]

    def clean(self, text: str) -> str:
        """See :class:`EvaluationTask`."""
        return first_sentence(text)

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        each = _each(items, [answer.text for answer in answers])
        return Scores({'accuracy': sum(each) / len(each)}, each, mean_by_group(items, each, self.groups))

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """See :class:`EvaluationTask`."""
        pairs = zip(items, answers, strict=True)
        return {'results.json': [{**item.about['record'], 'prediction': answer.raw} for item, answer in pairs]}

    def _query(self, record: Mapping[str, Any], place: int) -> Item:
        about = self._about(record, place, f'{self._root / self.task}/query.json, [{place}]')
        return self._item(record, f'{place}:{record.get("id", "")}', {**about, 'record': record})

    def _about(self, record: Mapping[str, Any], place: int, where: str) -> dict[str, Any]:
        """What demonstrations are chosen and figures grouped by, of the query at ``place``.

        Raises:
            ValueError: the record is none of this task; the message begins with ``where``.
        """
        return {}

    def _item(self, record: Mapping[str, Any], id: str, about: dict[str, Any] | None = None) -> Item:
        images = record['image'] if isinstance(record['image'], list) else [record['image']]
        return Item(
            id=id,
            question=str(record['question']),
            answer=str(record['answer']),
            media=tuple(Medium((str(self._root / image),)) for image in images),
            references=str(record['answer']),
            about=about or {},
        )

    @cached_property
    def _root(self) -> Path:
        return need(self._folder, 'folder', WHERE)

    def _read(self, file: str, keys: Sequence[str]) -> list[Mapping[str, Any]]:
        path = need(self._root / self.task / file, 'folder', WHERE)
        return list_of(read_json(path), path, keys)


@EVALUATION_TASKS.register_module()
class OpenMiniImageNet(VLICLTask):
    """Fast open-ended naming: pictures of two kinds have made-up names, which only the demonstrations tell.

    ``n`` shots are ``n`` pictures of the query's kind and ``n`` of another one, in turn; a query brings them with it.

    Args:
        folder, preamble: see :class:`VLICLTask`.
    """

    task = 'open_mi'
    keys = ('image', 'question', 'answer', 'classes', 'support')
    demonstrations = dict(type='Ways', ways=2)

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        shown = []
        for query in self.queries:
            for name, support in query.about['record']['support'].items():
                for number, image in enumerate(support['images']):
                    record = {'image': image, 'question': 'This is a', 'answer': name}
                    about = {'episode': query.about['episode'], 'way': name}
                    shown.append(self._item(record, f'{query.id}:{name}:{number}', about))
        return shown

    def _about(self, record: Mapping[str, Any], place: int, where: str) -> dict[str, Any]:
        answer, names = record['answer'], record['classes']
        if answer not in names or any(name not in record['support'] for name in names):
            raise ValueError(
                f'{where}: the answer {answer!r} must be one of the classes {names}, and each of those needs support'
            )
        return {'episode': place, 'way': answer, 'ways': list(names)}


@EVALUATION_TASKS.register_module()
class MatchingMiniImageNet(VLICLTask):
    """Do two pictures stand in the relation that the demonstrations show? Yes or no.

    ``n`` shots are ``n`` pairs of demonstrations, one of pictures that match and one of such that do not. A reply that
    holds 'yes' before it is cut means yes, any other no.

    Args:
        folder, preamble: see :class:`VLICLTask`.
    """

    task = 'matching_mi'
    demonstrations = dict(type='Together', by='pair')
    groups = ('answer',)

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        path = self._root / self.task / 'support.json'
        shown = []
        for place, record in enumerate(self._read('support.json', ('same', 'diff'))):
            both = list_of([record['same'], record['diff']], f'{path}, [{place}]', ('image', 'question', 'answer'))
            shown += [self._item(one, f'{place}:{n}', {'pair': place}) for n, one in enumerate(both)]
        return shown

    def _about(self, record: Mapping[str, Any], place: int, where: str) -> dict[str, Any]:
        answer = str(record['answer']).lower()
        if answer not in ('yes', 'no'):
            raise ValueError(f'{where}: the answer must be yes or no, got {record["answer"]!r}')
        return {'answer': answer}

    def clean(self, text: str) -> str:
        """See :class:`EvaluationTask`."""
        return 'yes' if 'yes' in first_sentence(text).lower() else 'no'


@EVALUATION_TASKS.register_module()
class OperatorInduction(VLICLTask):
    """Which operator do the demonstrations use? What comes of it with the query's two numbers?

    The first run of digits in the reply is the answer. The published rule does not see a minus sign, so it counts every
    answer below zero as wrong; ``accuracy, signed`` sees it.

    Args:
        folder, preamble: see :class:`VLICLTask`.
        interleaved: the two numbers are two pictures.
    """

    keys = (*VLICLTask.keys, 'operator')
    demonstrations = dict(type='Random', same='operator')
    groups = ('operator',)

    def __init__(self, folder: str = 'data/vl_icl', preamble: str = '', interleaved: bool = False) -> None:
        self.task = 'operator_induction_interleaved' if interleaved else 'operator_induction'
        super().__init__(folder, preamble)

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`; each pair of numbers once with each operator."""
        shown = []
        for place, record in enumerate(self._read('support.json', ('image', 'question', 'answer'))):
            if not isinstance(record['answer'], list) or len(record['answer']) != len(OPERATORS):
                raise ValueError(
                    f'{self._root / self.task}/support.json, [{place}]: the answer must be a list of the results of '
                    f'{", ".join(OPERATORS)}, got {record["answer"]!r}'
                )
            for operator, number in OPERATORS.items():
                one = {**record, 'answer': record['answer'][number]}
                shown.append(self._item(one, f'{place}:{operator}', {'operator': operator}))
        return shown

    def clean(self, text: str) -> str:
        """See :class:`EvaluationTask`."""
        return _number(r'\d+', text)

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        scores = super().score(items, answers)
        signed = _each(items, [_number(r'-?\d+', answer.raw) for answer in answers])
        scores.figures['accuracy, signed'] = sum(signed) / len(signed)
        return scores

    def _about(self, record: Mapping[str, Any], place: int, where: str) -> dict[str, Any]:
        if record['operator'] not in OPERATORS:
            raise ValueError(f'{where}: operator must be one of {", ".join(OPERATORS)}, got {record["operator"]!r}')
        return {'operator': record['operator']}


@EVALUATION_TASKS.register_module()
class CLEVRCount(VLICLTask):
    """How many things have the attribute that the question names, such as ``shape: cube``?

    Args:
        folder, preamble: see :class:`VLICLTask`.
    """

    task = 'clevr'
    groups = ('attribute',)

    def _about(self, record: Mapping[str, Any], place: int, where: str) -> dict[str, Any]:
        return {'attribute': record['question'].split(':')[0].strip()}


@EVALUATION_TASKS.register_module()
class TextOCR(VLICLTask):
    """What stands in the red box?

    Args:
        folder, preamble: see :class:`VLICLTask`.
    """

    task = 'textocr'


def first_sentence(text: str) -> str:
    """What of a reply is looked at: its first line, or where it is one line what stands before its first full stop.

    Example:
        >>> first_sentence(' 3.5 apples'), first_sentence('a.b\\nc'), first_sentence('.5')
        ('3', 'a.b', '.5')
    """
    text = text.strip()
    end = text.find('\n') if '\n' in text else text.find('.')
    return text[:end] if end > 0 else text


def _number(pattern: str, text: str) -> str:
    found = re.search(pattern, first_sentence(text))
    return found.group() if found else ''


def _each(items: Sequence[Item], texts: Sequence[str]) -> tuple[float, ...]:
    return tuple(100.0 * (text.lower() == item.references.lower()) for item, text in zip(items, texts, strict=True))
