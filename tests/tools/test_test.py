import json

import pytest

from mmgpt.hub.io import save_folder
from mmgpt.registry import TASKS
from tests.hub import tiny
from tools import test as tool


class Naming:
    """A task: asks the name of a few pictures."""

    def __init__(self, questions: int = 3):
        self.questions = questions

    def __call__(self, model, processor, out, limit=None):
        count = min(self.questions, limit or self.questions)
        answers = []
        for i in range(count):
            messages = [tiny.user('What?', tiny.image(i))]
            inputs = processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True
            )
            ids = model.generate(**inputs.to(model.device, model.dtype), max_new_tokens=3)
            answers.append(processor.decode(ids[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True))
        lines = [json.dumps({'id': i, 'answer': answer}) for i, answer in enumerate(answers)]
        (out / 'predictions.jsonl').write_text('\n'.join(lines))
        return {'asked': count}

    def results(self, metrics):
        return {'naming': [{'shots': 0, 'trials': [metrics['asked']], 'mean': metrics['asked'], 'stddev': 0.0}]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS.module_dict, 'Naming', Naming)
    save_folder(tmp_path / 'model', *tiny.model_and_processor())
    (tmp_path / 'config.py').write_text("evaluation = dict(type='Naming', questions=4)\n")
    (tmp_path / 'typo.py').write_text("evaluation = dict(type='Namng')\n")
    (tmp_path / 'argument.py').write_text("evaluation = dict(type='Naming', qestions=4)\n")
    (tmp_path / 'plain.py').write_text('max_iters = 1\n')
    return tmp_path


def run(capsys, *argv):
    code = tool.main([*map(str, argv), '--device', 'cpu'])
    return code, capsys.readouterr()


def test_figures_and_answers_are_written(place, capsys):
    out = place / 'figures'
    code, shown = run(capsys, place / 'config.py', place / 'model', '--out', out, '--limit', '2')
    assert code == 0, shown.err
    assert json.loads((out / 'results.json').read_text()) == {
        'naming': [{'shots': 0, 'trials': [2], 'mean': 2, 'stddev': 0.0}]
    }
    assert len((out / 'predictions.jsonl').read_text().splitlines()) == 2
    assert 'naming, 0 shots: 2.0' in shown.out


def test_by_default_they_come_to_the_models_folder(place, capsys):
    (place / 'other.py').write_text("evaluation = dict(type='Naming', questions=2)\n")
    for config in ('config.py', 'other.py'):
        code, shown = run(capsys, place / config, place / 'model')
        assert code == 0, shown.err
    for name, mean in (('config', 4), ('other', 2)):
        assert json.loads((place / f'model/evaluation/{name}/results.json').read_text())['naming'][0]['mean'] == mean


@pytest.mark.parametrize(
    ('config', 'model', 'told'),
    [
        ('nowhere.py', 'model', 'nowhere.py'),
        ('config.py', 'nowhere', 'no model folder'),
        ('plain.py', 'model', 'has no evaluation'),
        ('typo.py', 'model', "did you mean 'Naming'"),
        ('argument.py', 'model', 'qestions'),
    ],
)
def test_missing_input_is_one_message_and_code_2(place, capsys, config, model, told):
    code, shown = run(capsys, place / config, place / model, '--out', place / 'out')
    assert code == 2
    assert told in shown.err
    assert 'Traceback' not in shown.err
    assert not (place / 'out').exists()


def test_a_limit_below_one_is_bad_usage(capsys):
    with pytest.raises(SystemExit) as exit_:
        tool.main(['config.py', 'model', '--limit', '0'])
    assert exit_.value.code == 2
