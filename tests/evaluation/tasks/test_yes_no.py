"""MME's and POPE's rules on hand-made records."""

import json

import pytest

from mmgpt.evaluation import Evaluation
from mmgpt.evaluation.items import Answer
from mmgpt.evaluation.tasks.yes_no import MME, POPE, confusion


def task_of(kind, folder, records, name='records.json'):
    (folder / name).write_text(json.dumps(records))
    return kind(str(folder / name))


def scored(task, replies):
    answers = [Answer(task.clean(reply), reply) for reply in replies]
    return task.score(task.queries, answers)


def mme(category, picture, answer):
    return {'id': f'{category}_{picture}', 'instruction': 'Is it?', 'answer': answer, 'image_id': picture}


@pytest.mark.parametrize(
    ('reply', 'parsed'),
    [
        ('Yes', 'yes'),
        (' yes. ', 'yes'),
        ('No, there is none.', 'no'),
        ('y.es', 'yes'),
        (' Yes, it is', 'yes'),
        ('Not at all', 'no'),  # its first four letters hold "no"
        ('I know', 'other'),  # 'i kn' holds neither
        ('It is. Yes', 'other'),
        ('', 'other'),
        ('snow is there', 'no'),  # as published: 'snow' holds "no"
    ],
)
def test_mme_looks_into_four_letters(reply, parsed):
    assert MME.clean(MME, reply) == parsed


def test_mme_counts_questions_and_pictures(tmp_path):
    records = [
        mme('existence', 'a', 'Yes'), mme('existence', 'a', 'No'),
        mme('existence', 'b', 'Yes'), mme('existence', 'b', 'No'),
        mme('OCR', 'c', 'Yes'), mme('OCR', 'c', 'No'),
        mme('commonsense_reasoning', 'd', 'Yes'), mme('commonsense_reasoning', 'd', 'No'),
    ]  # fmt: skip
    scores = scored(task_of(MME, tmp_path, records), ['yes', 'no', 'yes', 'yes', 'yes', 'no', 'maybe', 'no'])
    figures = scores.figures
    assert figures['existence'] == pytest.approx(100 * 3 / 4 + 100 * 1 / 2)
    assert figures['ocr'] == pytest.approx(200)
    assert figures['commonsense'] == pytest.approx(100 * 1 / 2 + 0)
    assert figures['perception'] == pytest.approx(125 + 200)
    assert figures['cognition'] == pytest.approx(50)
    assert figures['total'] == pytest.approx(375)
    # yes: three of four found, one no taken for a yes
    assert figures['precision'] == pytest.approx(75)
    assert figures['recall'] == pytest.approx(75)
    assert MME.main in figures


def test_mmes_questions_about_a_picture_are_drawn_together(tmp_path):
    records = [mme('count', picture, answer) for picture in 'abcdef' for answer in ('Yes', 'No')]
    task = task_of(MME, tmp_path, records)
    for seed in range(3):
        drawn = Evaluation(task, num_samples=6).queries(seed)
        answers = [Answer(item.references) if item.references == 'yes' else Answer('other') for item in drawn]
        assert task.score(drawn, answers).figures['count'] == 50.0  # one of two, and no picture


@pytest.mark.parametrize(
    ('reply', 'parsed'),
    [
        ('Yes, there is.', 'yes'),
        ('No', 'no'),
        ('There is not, no', 'no'),
        ('It is there. No, it is not.', 'yes'),  # only the first sentence counts
        ('I see nothing', 'yes'),  # neither word: as published
        ('Well,no', 'yes'),  # commas are deleted, not replaced: as published
        ('', 'yes'),
        ('NOT here', 'no'),
    ],
)
def test_pope_looks_for_no_and_not(reply, parsed):
    assert POPE.clean(POPE, reply) == parsed


def test_pope_counts_by_category_and_in_all(tmp_path):
    records = [
        {'id': 1, 'question': 'Is there a dog?', 'answer': 'yes', 'category': 'random'},
        {'id': 2, 'question': 'Is there a cat?', 'answer': 'no', 'category': 'random'},
        {'id': 3, 'question': 'Is there a cup?', 'answer': 'yes', 'category': 'popular'},
        {'id': 4, 'question': 'Is there a bus?', 'answer': 'no', 'category': 'popular'},
        {'id': 5, 'question': 'Is there a car?', 'answer': 'no', 'category': 'popular'},
    ]
    scores = scored(task_of(POPE, tmp_path, records), ['yes', 'no', 'no', 'yes', 'yes'])
    figures = scores.figures
    assert {name: figures[name] for name in ('tp', 'fp', 'tn', 'fn')} == {'tp': 1, 'fp': 2, 'tn': 1, 'fn': 1}
    assert figures['precision'] == pytest.approx(100 / 3)
    assert figures['recall'] == pytest.approx(50)
    assert figures['f1'] == pytest.approx(2 * (100 / 3) * 50 / (100 / 3 + 50))
    assert figures['accuracy'] == pytest.approx(40)
    assert figures['yes_ratio'] == pytest.approx(60)  # of the answers; of the truth it would be 40
    assert scores.groups['category'] == {'random': 100.0, 'popular': 0.0}
    assert figures['random/accuracy'] == 100.0


def test_popes_official_files_name_the_category(tmp_path):
    lines = [{'question_id': 1, 'image': 'x.jpg', 'text': 'Is there a dog?', 'label': 'yes'}]
    (tmp_path / 'coco_pope_adversarial.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    (item,) = POPE(str(tmp_path / 'coco_pope_adversarial.jsonl')).queries
    assert (item.about['category'], item.references) == ('adversarial', 'yes')
    (tmp_path / 'other.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match="here or in the file's name"):
        _ = POPE(str(tmp_path / 'other.jsonl')).queries


def test_an_answer_that_is_neither_is_wrong():
    figures = confusion(['no', 'no', 'yes'], ['other', 'no', 'yes'])
    assert figures['accuracy'] == pytest.approx(100 * 2 / 3)
    assert figures['yes_ratio'] == pytest.approx(100 / 3)
    assert confusion(['no'], ['no'])['f1'] == 0.0
