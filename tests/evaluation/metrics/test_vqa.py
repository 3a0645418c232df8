"""VQA accuracy against the published script, frozen by ``frozen/make_vqa.py``."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from mmgpt.evaluation.items import Answer, Item
from mmgpt.evaluation.metrics.vqa import VQAAccuracy, normalise
from mmgpt.evaluation.tasks import VQA


@pytest.fixture(scope='module')
def frozen() -> dict:
    return json.loads(gzip.decompress((Path(__file__).parent / 'frozen/vqa.json.gz').read_bytes()))


def test_all_figures_are_the_published_ones_to_the_last_digit(frozen, tmp_path):
    assert len(frozen['items']) >= 2000
    answers = [Answer(item['answer']) for item in frozen['items']]
    items = [
        Item(
            number,
            references=[{'answer': text, 'answer_id': i} for i, text in enumerate(item['references'], 1)],
            about={name: item[name] for name in ('question_type', 'answer_type')},
        )
        for number, item in enumerate(frozen['items'])
    ]
    scores = VQA('q', 'a', 'i').score(items, answers)
    assert [round(value, 2) for value in scores.items] == frozen['each']
    assert 20 < scores.figures['accuracy'] < 90
    assert scores.figures['accuracy'] == frozen['accuracy']['overall']
    assert scores.groups['question_type'] == frozen['accuracy']['perQuestionType']
    assert scores.groups['answer_type'] == frozen['accuracy']['perAnswerType']


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        ('A dog.', 'dog'),
        ('1,000', '1000'),
        ('left/right', 'left right'),
        ('left / right', 'left right'),
        ('dont  know!', "don't know"),
        ('None', '0'),
        ('3.5 in. wide', '3.5 in wide'),
        ('', ''),
    ],
)
def test_normalisation(given, expected):
    assert normalise(given) == expected


def test_records_that_are_the_same_are_left_out_together():
    same = [{'answer': 'dog'}] * 10
    numbered = [{'answer': 'dog', 'answer_id': i} for i in range(10)]
    assert VQAAccuracy()(['dog', 'dog'], [same, numbered])[1] == (0.0, 100.0)
