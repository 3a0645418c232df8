"""Our models behind other people's interfaces, with their packages where they are installed."""

from __future__ import annotations

import types

import pytest

from mmgpt.evaluation import EvaluatedModel, evaluated
from mmgpt.evaluation.harnesses.asking import Asking
from mmgpt.inference.endpoint import RequestRefused
from tests.hub import tiny


@pytest.fixture(scope='module')
def asking():
    return Asking(evaluated(*tiny.model_and_processor()))


def plain(text: str, *numbers: int, tokens: int = 4) -> str:
    model, processor = tiny.model_and_processor()
    messages = [tiny.user(text, *map(tiny.image, numbers))]
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, eos_token_id=processor.stop_token_ids)
    return processor.decode(out[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True).strip()


def test_replies_are_those_of_plain_generate(asking):
    assert asking.reply('What is it?', [[tiny.picture(1)]], max_new_tokens=4) == plain('What is it?', 1)
    two = [[tiny.picture(1)], [tiny.picture(2)]]
    assert asking.reply('What is it?', two, max_new_tokens=4) == plain('What is it?', 1, 2)
    assert asking.reply('What is it?', [[tiny.picture(3)]], max_new_tokens=4) == plain('What is it?', 3)
    assert asking.reply('What?', [], max_new_tokens=4) == plain('What?')


def test_likelihoods_sum_over_the_tokens(asking):
    score, greedy = asking.likelihood('What is it?', [[tiny.picture(1)]], 'a dog lies')
    shorter, _ = asking.likelihood('What is it?', [[tiny.picture(1)]], 'a dog')
    assert score < shorter < 0
    assert not greedy


class Refusing(EvaluatedModel):
    """Answers nothing."""

    name = 'refusing'

    def generate(self, prompts, writer, settings):
        return [RequestRefused('status 400: content filter')] * len(prompts)


def test_a_refused_question_is_no_reply():
    with pytest.raises(RequestRefused, match='content filter'):
        Asking(Refusing()).reply('What?', [])


def test_lmms_eval(asking):
    pytest.importorskip('lmms_eval.api.model', reason='pip install lmms-eval', exc_type=ImportError)
    from lmms_eval.models import get_model

    from mmgpt.evaluation.harnesses.lmms_eval import MMGPT

    assert get_model('mmgpt') is MMGPT  # by the entry point
    model = MMGPT(asking.model)
    model.task_dict = {'mine': {'test': [{'picture': tiny.picture(1)}]}}
    how = {'max_new_tokens': 4, 'until': ['\n\n']}
    place = lambda doc: [doc['picture']], 0, 'mine', 'test'
    [reply] = model.generate_until([types.SimpleNamespace(args=('What is it?', how, *place))])
    assert reply == plain('What is it?', 1)
    [(score, _)] = model.loglikelihood([types.SimpleNamespace(args=('What is it?', 'a dog', *place))])
    assert score == asking.likelihood('What is it?', [[tiny.picture(1)]], 'a dog')[0]


def test_vlmevalkit(asking, tmp_path):
    reason = 'pip install git+https://github.com/open-compass/VLMEvalKit'
    pytest.importorskip('vlmeval.vlm.base', reason=reason, exc_type=ImportError)
    from mmgpt.evaluation.harnesses.vlmevalkit import MMGPT

    tiny.picture(1).save(tmp_path / 'picture.png')
    model = MMGPT(asking.model, max_new_tokens=4)
    parts = [{'type': 'image', 'value': str(tmp_path / 'picture.png')}, {'type': 'text', 'value': 'What is it?'}]
    assert model.generate(parts) == plain('What is it?', 1)
