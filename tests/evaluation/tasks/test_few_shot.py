"""Captions, questions, memes, classes: settings, what of a reply is the answer, figures, files for test servers."""

from __future__ import annotations

import json

import pytest

from mmgpt.evaluation import Answer, Generation, Ranking
from mmgpt.registry import EVALUATION_TASKS
from tests.evaluation.benchmarks import TASKS, captions, vqa


def task_of(folder, name, **changes):
    return EVALUATION_TASKS.build({**TASKS[name](folder), **changes})


@pytest.mark.parametrize(
    ('name', 'tokens'), [('coco', 20), ('flickr30k', 20), ('vqav2', 5), ('ok_vqa', 5), ('textvqa', 10), ('vizwiz', 5)]
)
def test_answers_are_written_as_published(name, tokens, tmp_path):
    assert task_of(tmp_path, name).answering == Generation(tokens, num_beams=3, length_penalty=0.0)


def test_classes_are_ranked_by_the_mean_of_their_tokens(tmp_path):
    assert task_of(tmp_path / 'a', 'hateful_memes').answering == Ranking(('no', 'yes'), 'mean')
    names = ('tench', 'great white shark', 'hen', 'red fox')
    assert task_of(tmp_path / 'b', 'imagenet').answering == Ranking(names, 'mean')


@pytest.mark.parametrize(
    ('name', 'reply', 'answer'),
    [
        ('coco', ' a "red" dog\nOutput: a cat', 'a red dog'),
        ('vqav2', 'two Question: what', 'two'),
        ('vqav2', 'two Short answer', 'two'),
        ('vqav2', 'Answer: two', ''),  # as published
        ('vqav2', 'red, blue', 'red'),
        ('vqav2', '1,000', '1,000'),
        ('vizwiz', 'two dogs', 'two dogs'),
    ],
)
def test_what_of_a_reply_is_the_answer(name, reply, answer, tmp_path):
    assert task_of(tmp_path, name).clean(reply) == answer


def test_ok_vqa_compares_stems(tmp_path):
    pytest.importorskip('lemminflect', reason='pip install "mmgpt[evaluation]"')
    assert task_of(tmp_path, 'ok_vqa').clean('riding horses, red') == 'ride horse'
    assert task_of(tmp_path, 'ok_vqa', stems=False).clean('riding horses') == 'riding horses'


def test_the_file_for_vqav2s_server_lists_every_question(tmp_path):
    made = vqa(tmp_path, 'vqav2')
    everything = json.loads((tmp_path / 'val2014_questions.json').read_text())
    dev = {**everything, 'questions': everything['questions'][:4]}
    (tmp_path / 'dev.json').write_text(json.dumps(dev))
    task = EVALUATION_TASKS.build(
        {**made, 'questions': str(tmp_path / 'dev.json'), 'annotations': None, 'all_questions': made['questions']}
    )
    items = task.queries[:3]
    assert task.score(items, [Answer('dog')] * 3).figures == {}  # their answers are not published
    ids = [record['question_id'] for record in everything['questions']]
    expected = [{'question_id': id, 'answer': 'dog' if number < 3 else ''} for number, id in enumerate(ids)]
    assert task.files(items, [Answer('dog')] * 3) == {'results.json': expected}


def test_the_file_for_vizwizs_server_names_pictures(tmp_path):
    task = task_of(tmp_path, 'vizwiz')
    items = task.queries[:2]
    given = task.files(items, [Answer('dog'), Answer('unanswerable')])['vizwiz.json']
    assert given == [
        {'image': 'VizWiz_val2014_00000001.jpg', 'answer': 'dog'},
        {'image': 'VizWiz_val2014_00000002.jpg', 'answer': 'unanswerable'},
    ]


@pytest.mark.parametrize(('name', 'id'), [('coco', 0), ('flickr30k', '0000000')])
def test_captions_are_written_in_cocos_forms(name, id, tmp_path):
    task = task_of(tmp_path, name)
    [item] = task.queries[:1]
    assert all('train' not in query.media[0].frames[0] for query in task.queries)
    files = task.files([item], [Answer('a dog')])
    assert files['results.json'] == [{'image_id': id, 'caption': 'a dog'}]
    assert files['references.json']['images'] == [{'id': id}]
    said = files['references.json']['annotations']
    assert [record['caption'] for record in said] == list(item.references)
    assert [(record['id'], record['image_id']) for record in said] == [(n, id) for n in range(1, 6)]
    assert [other.answer for other in task.pool] == [other.references[0] for other in task.pool]
    assert len(task.pool) == 5  # what is called restval is not shown


def test_memes_are_scored_by_the_softmax_of_both_answers(tmp_path):
    task = task_of(tmp_path, 'hateful_memes')
    items = task.queries[:4]
    assert [item.references for item in items] == [0, 1, 0, 1]
    # of 'no' and 'yes': the second is surely hateful, the third more likely so than the fourth
    scores = [(-1.0, -3.0), (-4.0, -1.0), (-2.0, -1.0), (-1.0, -1.0)]
    answers = [Answer('', scores=each) for each in scores]
    assert task.score(items, answers).figures == {'ROC-AUC': 75.0}
    results = task.files(items, answers)['results.json']
    assert [record['id'] for record in results] == [item.id for item in items]
    assert [record['proba'] for record in results] == pytest.approx([0.1192, 0.9526, 0.7311, 0.5], abs=1e-4)
    assert [record['label'] for record in results] == [0, 1, 1, 0]


def test_top_1_and_top_5(tmp_path):
    task = task_of(tmp_path, 'imagenet')
    items = task.queries[::2]  # one of each class
    best = task.score(items, [Answer('', scores=tuple(float(n == place) for n in range(4))) for place in range(4)])
    assert best.figures == {'top-1': 100.0, 'top-5': 100.0}
    ordered = task.score(items, [Answer('', scores=(3.0, 2.0, 1.0, 0.0))] * 4)
    assert ordered.figures == {'top-1': 25.0, 'top-5': 100.0}
    assert ordered.items == (100.0, 0.0, 0.0, 0.0)


def test_of_equal_scores_the_first_class_is_the_answer(tmp_path):
    task = task_of(tmp_path, 'imagenet')
    items = task.queries[::2]
    assert task.score(items, [Answer('', scores=(-1.0,) * 4)] * 4).items == (100.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize('answers', [[], ['dog', 'cat'], [{'answer': 3}], [{'answer': None}], 'dog', None])
def test_odd_answers_are_told_with_their_place(tmp_path, answers):
    made = vqa(tmp_path, count=2)
    given = json.loads((tmp_path / 'val2014_annotations.json').read_text())
    given['annotations'][1]['answers'] = answers
    (tmp_path / 'val2014_annotations.json').write_text(json.dumps(given))
    with pytest.raises(ValueError, match=r"val2014_annotations\.json, annotations\[1\]: 'answers' should be a list"):
        _ = EVALUATION_TASKS.build(made).queries


@pytest.mark.parametrize('sentences', [[], ['A dog'], [{'sent': 'A dog'}], 'A dog', None])
def test_odd_captions_are_told_with_their_place(tmp_path, sentences):
    made = captions(tmp_path)
    given = json.loads((tmp_path / 'dataset_coco.json').read_text())
    given['images'][2]['sentences'] = sentences
    (tmp_path / 'dataset_coco.json').write_text(json.dumps(given))
    with pytest.raises(ValueError, match=r"dataset_coco\.json, images\[2\]: 'sentences' should be a list"):
        _ = EVALUATION_TASKS.build(made).queries
