"""Prompts are the published ones, word for word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmgpt.data.templates import OpenFlamingo, Otter
from mmgpt.evaluation import Evaluation
from tests.evaluation.benchmarks import TASKS

# of a demonstration, up to its answer; … is the question
PUBLISHED = {
    'coco': ('<image>Output:', '<image>User: What does the image describe? GPT:<answer>'),
    'flickr30k': ('<image>Output:', '<image>User: What does the image describe? GPT:<answer>'),
    'vqav2': (
        '<image>Question:… Short answer:',
        '<image>User: … Please answer in short words. GPT:<answer>',
    ),
    'hateful_memes': (
        "<image>is an image with: '…' written on it. Is it hateful? Answer:",
        "<image>User: is an image with: '…' written on it. Is it hateful? GPT:<answer>",
    ),
    'imagenet': ('<image>Output:', '<image>User: What is in the image? GPT:<answer>'),
}
SEPARATED = ('coco', 'flickr30k', 'vqav2')  # by a line break in OpenFlamingo's form


@pytest.mark.parametrize('name', PUBLISHED)
@pytest.mark.parametrize('template', [OpenFlamingo(), Otter()], ids=lambda each: type(each).__name__)
def test_a_models_template_says_which_form_it_is_asked_in(name, template, tmp_path):
    evaluation = Evaluation(TASKS[name](tmp_path), [2], zero_shot='text_only')
    form = PUBLISHED[name][isinstance(template, Otter)]
    between = '\n' if name in SEPARATED and isinstance(template, OpenFlamingo) else ''
    [prompt] = evaluation.prompts(evaluation.task.queries[:1], 2, 0)
    first, second = prompt.demonstrations

    def written(item, form=form):
        return form.replace('…', item.question)

    expected = between.join(
        [f'{written(item)}{item.answer}<|endofchunk|>' for item in (first, second)] + [written(prompt.query)]
    )
    rendered = evaluation.writer.render(prompt, template)
    assert rendered.text.removeprefix('<s>') == expected
    assert rendered.media == (*first.media, *second.media, *prompt.query.media)
    assert all(len(item.media) == 1 for item in (first, second, prompt.query))

    [prompt] = evaluation.prompts(evaluation.task.queries[:1], 0, 0)  # two demonstrations, their pictures left out
    assert len(prompt.demonstrations) == 2
    shown = written(prompt.demonstrations[0]).removeprefix('<image>')
    text = evaluation.writer.render(prompt, template).text.removeprefix('<s>')
    assert text.startswith(f'{shown}{prompt.demonstrations[0].answer}<|endofchunk|>{between}')
    assert text.count('<image>') == 1


def test_without_the_convention_nothing_stands_before_the_query(tmp_path):
    evaluation = Evaluation(TASKS['vqav2'](tmp_path), [0])
    assert all(not prompt.demonstrations for prompt in evaluation.prompts(evaluation.task.queries, 0, 0))


def test_a_kind_that_no_style_has_is_refused(tmp_path, monkeypatch):
    task = Evaluation(TASKS['vqav2'](tmp_path)).task
    monkeypatch.setattr(type(task), 'kind', 'vqqa')
    with pytest.raises(ValueError, match=r"VQA.kind must be one of caption, vqa, .*, got 'vqqa'"):
        Evaluation(task)


def test_marks_in_a_question_are_taken_out(tmp_path):
    evaluation = Evaluation(TASKS['vqav2'](tmp_path), [1])
    [prompt] = evaluation.prompts(evaluation.task.queries[:1], 1, 0)
    prompt = replace(prompt, query=replace(prompt.query, question='<image>Is <|endofchunk|>it?'))
    text = evaluation.writer.render(prompt, OpenFlamingo()).text
    assert text.endswith('<image>Question:Is it? Short answer:')
    assert text.count('<image>') == 2


def test_a_preamble_stands_first_whatever_the_form(tmp_path, monkeypatch):
    evaluation = Evaluation(TASKS['vqav2'](tmp_path), [1])
    [prompt] = evaluation.prompts(evaluation.task.queries[:1], 1, 0)
    for template in (OpenFlamingo(), Otter()):
        monkeypatch.setattr(evaluation.task, 'preamble', '')
        plain = evaluation.writer.render(prompt, template).text
        monkeypatch.setattr(evaluation.task, 'preamble', 'Look <image>closely.')
        assert evaluation.writer.render(prompt, template).text == f'Look closely.\n{plain}'
