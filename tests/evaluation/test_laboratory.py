"""Controls change what they say and nothing else; the laboratory tells a model that looks from one that does not."""

import json
import random
import re

import pytest

from mmgpt.evaluation import EvaluatedModel, Evaluation
from mmgpt.evaluation.controls import CONTROLS, controlled, with_copies
from mmgpt.evaluation.items import Answer, Item, Prompt, Scores
from mmgpt.evaluation.laboratory import CONDITIONS, attending, probe
from mmgpt.evaluation.tasks.digit_naming import DigitNaming
from mmgpt.hub.io import save_folder
from mmgpt.structures import Medium
from tests.hub import tiny
from tools.analysis_tools import probe_context

POOL = [Item(n, 'What?', f'name {n % 3}', (Medium((f'{n}.png',)),)) for n in range(12)]
PROMPTS = [Prompt(tuple(random.Random(seed).sample(POOL, 4)), Item('q', 'What?', 'name 1')) for seed in range(20)]


def changed(control):
    """What a control changes of demonstrations, in all prompts."""
    fields = set()
    for before, after in zip(PROMPTS, controlled(PROMPTS, control, POOL, seed=0)):
        assert after.query is before.query
        for a, b in zip(before.demonstrations, after.demonstrations, strict=True):
            fields |= {name for name in ('question', 'answer', 'media') if getattr(a, name) != getattr(b, name)}
    return fields


@pytest.mark.parametrize(('control', 'fields'), [('shuffled_images', {'media'}), ('shuffled_labels', {'answer'})])
def test_pictures_and_labels_are_torn_apart(control, fields):
    assert changed(control) == fields
    answer_of = {item.media: item.answer for item in POOL}
    for prompt in controlled(PROMPTS, control, POOL, seed=0):
        assert all(answer_of[item.media] != item.answer for item in prompt.demonstrations)


def test_order_is_reversed_and_pictures_are_left_out():
    for before, after in zip(PROMPTS, controlled(PROMPTS, 'reversed_order', POOL, 0)):
        assert after.demonstrations == before.demonstrations[::-1]
    assert changed('text_only') == {'media'}
    assert not any(i.media for p in controlled(PROMPTS, 'text_only', POOL, 0) for i in p.demonstrations)


def test_a_control_is_a_function_of_the_seed():
    for control in CONTROLS:
        assert controlled(PROMPTS, control, POOL, 3) == controlled(PROMPTS, control, POOL, 3)
    assert controlled(PROMPTS, 'shuffled_images', POOL, 3) != controlled(PROMPTS, 'shuffled_images', POOL, 4)


def test_copies_are_counted():
    prompts = [Prompt((POOL[0], POOL[1]), POOL[3]), Prompt((POOL[1],), POOL[5]), Prompt((), POOL[0])]
    answers = [Answer('Name 1.'), Answer('name 2'), Answer('name 0')]
    figures = with_copies(Scores({'accuracy': 5.0}), prompts, answers).figures
    assert figures == pytest.approx({'accuracy': 5.0, 'copied': 100 / 3, 'covered': 100 / 3})
    assert with_copies(Scores({}), prompts, answers).figures == {}


class Nearest(EvaluatedModel):
    """Answers as the demonstration whose picture has the query's pixels most nearly; without pictures as the last."""

    name, can_rank = 'nearest', False

    def generate(self, prompts, writer, settings):
        import numpy as np

        def pixels(item):
            return np.asarray(writer.task.open(item.media[0].frames[0]), float)

        answers = []
        for prompt in prompts:
            shown = [item for item in prompt.demonstrations if item.media] or list(prompt.demonstrations[-1:])
            if shown and shown[0].media:
                asked = pixels(prompt.query)
                shown.sort(key=lambda item: -np.abs(pixels(item) - asked).sum())
            answers.append(shown[-1].answer if shown else '')
        return answers


def test_digits_named_by_the_nearest_picture_lose_what_a_control_takes(tmp_path):
    pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]"')

    def accuracy(control):
        task = DigitNaming(str(tmp_path / 'pictures'))
        evaluation = Evaluation(task, [8], [0], dict(type='Random'), control=control, num_samples=60)
        out = tmp_path / str(control)
        out.mkdir()
        figures = evaluation(Nearest(), None, out)['rows'][0]['figures']
        return {name: values[0] for name, values in figures.items()}

    intact, images, labels = accuracy(None), accuracy('shuffled_images'), accuracy('shuffled_labels')
    assert intact['copied'] == images['copied'] == 100
    assert 0.5 * intact['covered'] < intact['accuracy'] <= intact['covered']
    assert images['accuracy'] < 0.4 * intact['accuracy']
    assert labels['accuracy'] < 0.4 * intact['accuracy']
    assert accuracy('reversed_order')['accuracy'] == intact['accuracy']


def test_queries_and_pool_are_different_pictures(tmp_path):
    pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]"')
    task = DigitNaming(str(tmp_path / 'pictures'))
    asked, known = ({item.id for item in items} for items in (task.queries, task.pool))
    assert not asked & known
    assert asked | known == set(range(1437, 1797))
    assert len({item.answer for item in task.pool}) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ['pictures']


def test_the_tool_measures_every_condition_and_draws_them(tmp_path, monkeypatch, capsys):
    pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]"')
    model = save_folder(tmp_path / 'model', *tiny.model_and_processor())
    task = dict(type='DigitNaming', images=str(tmp_path / 'pictures'))
    options = dict(shots=[0, 2], seeds=[0], style='template', answering=dict(max_new_tokens=2), batch_size=8)
    (tmp_path / 'config.py').write_text(f'evaluation = {dict(type="Evaluation", task=task, **options)!r}\n')
    command = [tmp_path / 'config.py', model, '--out', tmp_path / 'lab', '--device', 'cpu', '--limit', '6']
    assert probe_context.main([*map(str, command)]) == 0
    table = (tmp_path / 'lab/context.md').read_text()
    assert [row.split(' |')[0] for row in table.splitlines()[2:]] == [f'| {n.replace("_", " ")}' for n in CONDITIONS]
    assert (tmp_path / 'lab/context.png').read_bytes().startswith(b'\x89PNG')
    settings = json.loads((tmp_path / 'lab/shuffled_labels/metrics.json').read_text())['settings']
    assert settings['control'] == 'shuffled_labels'
    (tmp_path / 'other.py').write_text("evaluation = dict(type='DigitsEvaluation')\n")
    assert probe_context.main([str(tmp_path / 'other.py'), str(model), '--out', str(tmp_path / 'x')]) == 2
    assert 'has no evaluation with shots' in capsys.readouterr().err


def test_the_models_own_attend_comes_back():
    model, _ = tiny.model_and_processor()
    with pytest.raises(RuntimeError), attending(model, 'all_previous'):  # noqa: PT012
        assert model.config.attend == 'all_previous'
        raise RuntimeError
    assert model.config.attend == 'previous'


def test_an_unknown_condition_or_control_is_told(tmp_path):
    with pytest.raises(ValueError, match=re.escape("there is no condition 'upside_down'")):
        probe({}, None, None, tmp_path, ['upside_down'])
    with pytest.raises(ValueError, match='control must be one of shuffled_images'):
        Evaluation(DigitNaming(), control='upside_down')
