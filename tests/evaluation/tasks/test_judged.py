"""Tasks with a judge, over HTTP: cached, and asked again where a reply cannot be read."""

import asyncio
import json
import re
import urllib.request

import numpy as np
import pytest
from mmengine.dist import broadcast_object_list

from mmgpt.evaluation import judge as module
from mmgpt.evaluation.items import Answer
from mmgpt.evaluation.judge import Judge, number_between, yes_or_no
from mmgpt.evaluation.tasks.judged import MagnifierBenchOpen, MMAGIBench, MMVet
from mmgpt.evaluation.tasks.math_vista import MathVista
from mmgpt.evaluation.tasks.video_qa import VideoQA
from tests.engine.processes import in_processes
from tests.evaluation.tasks.test_math_vista import WHOLE
from tests.inference.rule_server import rule_server

pytest.importorskip('openai', reason='pip install "mmgpt[syphus]"')


def by_words(body: dict) -> str:
    """Judges an answer by the share of the truth's words that it has, in the form that the system message asks for."""
    system, said = body['messages'][0]['content'], body['messages'][-1]['content']
    if 'final answer' in system:
        return {'four': '4'}.get(re.search(r'Reply: (\w+)', said).group(1), 'none')
    truth, answer = (re.search(f'^{name}: (.*)$', said, re.MULTILINE).group(1) for name in ('Truth', 'Answer'))
    if answer == 'mumble' and not body['temperature']:
        return 'Hm.'
    words = set(truth.lower().split())
    share = len(words & set(answer.lower().split())) / len(words)
    if 'yes or no' in system:
        return 'Yes.' if share == 1 else 'No.'
    return f'{share:.1f}' if '0.0' in system else f'{100 * share:.0f}'


@pytest.fixture(scope='module')
def server():
    with rule_server(rule='tests.evaluation.tasks.test_judged:by_words') as address:
        yield address


@pytest.fixture
def judge(server, tmp_path):
    return dict(model='rule', base_url=server, cache=str(tmp_path / 'judge.sqlite'))


def asked(server) -> int:
    with urllib.request.urlopen(f'{server.removesuffix("/v1")}/log') as reply:
        return json.load(reply)['answered']


def task_of(kind, folder, records, **options):
    (folder / 'records.json').write_text(json.dumps(records))
    return kind(str(folder / 'records.json'), **options)


def vet(id, answer, *capabilities):
    return {'id': id, 'instruction': 'What?', 'answer': answer, 'images': [], 'capability': list(capabilities)}


def always(body: dict) -> str:
    """Finds everything right."""
    return 'Yes.'


def test_judgements_of_another_address_are_not_taken_over(judge, server):
    asked = [[{'role': 'system', 'content': 'yes or no'}, {'role': 'user', 'content': 'Truth: a\nAnswer: b'}]]
    assert Judge(**judge)(asked, yes_or_no) == [0.0]
    with rule_server(rule=f'{__name__}:always') as other:
        assert Judge(**{**judge, 'base_url': other})(asked, yes_or_no) == [1.0]
    assert Judge(**judge)(asked, yes_or_no) == [0.0]


def test_processes_hear_of_judging_that_lasts(monkeypatch):
    heard = []

    async def slowly(self, conversations, parse):
        await asyncio.sleep(0.5)
        return [1.0]

    def hear(values):
        broadcast_object_list(values)
        heard.append(values[0])

    def judging():
        return Judge('m', cache=None)([[]], yes_or_no), heard

    monkeypatch.setattr(Judge, '_all', slowly)
    monkeypatch.setattr(module, 'SIGN', 0.1)
    monkeypatch.setattr(module, 'broadcast_object_list', hear)
    for judged, signs in in_processes(judging, 2):
        assert judged == [1.0]
        assert len(signs) > 1
        assert set(map(str, signs[:-1])) == {'None'}


def test_mm_vet_by_capability_cached_and_in_agreement(tmp_path, judge, server):
    records = [vet('1', 'a red cat', 'rec'), vet('2', 'blue sky', 'rec', 'ocr'), vet('3', 'one <OR> 1', 'math')]
    task = task_of(MMVet, tmp_path, records, judge=judge)
    answers = [Answer('A red cat'), Answer('blue'), Answer('1')]
    scores = task.score(task.queries, answers)
    assert scores.items == pytest.approx((100.0, 50.0, 30.0))  # one word of 'one', '<or>', '1'
    assert scores.figures['score'] == pytest.approx(60)
    assert scores.figures['exact'] == pytest.approx(100 * 2 / 3)
    assert scores.figures['agreement'] == pytest.approx(100 / 3)
    assert scores.figures['unjudged'] == 0
    assert scores.groups['capability'] == pytest.approx({'math': 30.0, 'ocr': 50.0, 'rec': 75.0})
    assert scores.groups['capabilities together'] == pytest.approx({'math': 30.0, 'ocr, rec': 50.0, 'rec': 100.0})
    before = asked(server)
    assert task.score(task.queries, answers) == scores
    assert asked(server) == before


def test_what_cannot_be_read_is_asked_again_warmer(tmp_path, judge):
    task = task_of(MMVet, tmp_path, [vet('1', 'mumble', 'rec')], judge=judge)
    assert task.score(task.queries, [Answer('mumble')]).figures['score'] == 100.0
    once = task_of(MMVet, tmp_path, [vet('1', 'mumble', 'rec')], judge={**judge, 'tries': 1})
    figures = once.score(once.queries, [Answer('mumble')]).figures
    assert (figures['score'], figures['unjudged']) == (0.0, 1.0)


def test_without_a_judge_answers_are_compared(tmp_path):
    task = task_of(MMVet, tmp_path, [vet('1', 'two', 'rec')])
    scores = task.score(task.queries, [Answer('2.')])
    assert scores.figures == {task.main: 100.0}


def test_no_endpoint_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv('OPENAI_BASE_URL', raising=False)
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    task = task_of(MMVet, tmp_path, [vet('1', 'x', 'rec')], judge=dict(model='m', cache=None))
    with pytest.raises(ValueError, match='OPENAI_BASE_URL'):
        task.score(task.queries, [Answer('x')])


def test_video_questions_show_frames_of_the_file(tmp_path, judge):
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    with av.open(str(tmp_path / 'clip.mp4'), 'w') as container:
        stream = container.add_stream('mpeg4', rate=5)
        stream.width = stream.height = 32
        for number in range(10):
            pixels = np.full((32, 32, 3), 25 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())
    records = [{'question': 'What changes?', 'answer': 'the light', 'video': 'clip'}]
    task = task_of(VideoQA, tmp_path, records, videos=str(tmp_path), judge=judge, num_frames=4, name='msvd_qa')
    (item,) = task.queries
    (video,) = item.media
    light = [np.asarray(task.open(frame)).mean() for frame in video.frames]
    assert len(light) == 4
    assert light == sorted(light)
    assert light[-1] - light[0] > 150
    assert task.score([item], [Answer('the light there')]).figures['score'] == 100.0
    with pytest.raises(FileNotFoundError, match='there is no video file'):
        _ = task_of(VideoQA, tmp_path, [{**records[0], 'video': 'none'}], videos=str(tmp_path)).queries


def test_magnifier_in_its_open_form(tmp_path, judge):
    records = [{'id': 'a', 'instruction': 'How many cups? A. one, B. two cups', 'answer': 'B', 'images': []}]
    task = task_of(MagnifierBenchOpen, tmp_path, records, judge=judge)
    (item,) = task.queries
    assert (item.question, item.references) == ('How many cups?', 'two cups')
    assert task.score([item], [Answer('I see two cups')]).figures['score'] == 100.0


def test_mmagibench_is_a_mean_over_categories(tmp_path, judge):
    base = {'question': 'Which animal?', 'answer': 'A', 'A': 'cat', 'B': 'dog', 'hint': ''}
    kinds = [('object', 'coarse_perception'), ('object', 'coarse_perception'), ('scene', 'coarse_perception')]
    kinds.append(('relation', 'relation_reasoning'))
    records = [{**base, 'index': n, 'category': a, 'l2-category': b} for n, (a, b) in enumerate(kinds)]
    task = task_of(MMAGIBench, tmp_path, records, judge=judge)
    scores = task.score(task.queries, [Answer('A. cat'), Answer('dog'), Answer('A. cat'), Answer('cat')])
    assert scores.figures['perception'] == pytest.approx((50 + 100) / 2)
    assert scores.figures['reasoning'] == 0.0  # the rule wants the letter, too
    assert scores.figures['exact'] == pytest.approx(75)


@pytest.mark.parametrize(
    ('kind', 'changes', 'said'),
    [
        (MMVet, {'capability': [1]}, r"\[0\]: 'capability' must be a list of names, such as rec; got \[1\]"),
        (MMAGIBench, {}, r"\[0\] lacks 'category'"),
        (MMAGIBench, {'category': 'scene', 'l2-category': ''}, r"\[0\]: 'l2-category' must be text, got ''"),
    ],
)
def test_a_record_without_its_kind_is_told(tmp_path, kind, changes, said):
    record = {**vet('a', 'A'), 'index': 1, 'question': 'Which?', 'A': 'cat', 'B': 'dog', **changes}
    with pytest.raises(ValueError, match=said):
        _ = task_of(kind, tmp_path, [record]).queries


def test_math_vista_lets_a_model_read_what_rules_cannot(tmp_path, judge):
    task = task_of(MathVista, tmp_path, {'1': WHOLE, '2': WHOLE}, extractor=judge)
    scores = task.score(task.queries, [Answer('four sides has it'), Answer('nothing of it')])
    assert scores.items == (100.0, 0.0)


def test_readers():
    read = number_between(0, 1)
    assert [read(text) for text in ('0.7', 'Correctness: 1.0.', '-1', '3', 'none')] == [0.7, 1.0, None, None, None]
    assert [read(text) for text in ('.1', 'Score: .5', '-.5', 'Score...1')] == [0.1, 0.5, None, 1.0]
    assert [yes_or_no(text) for text in ('Yes.', '**no**', 'Not at all', '')] == [1.0, 0.0, None, None]
    with pytest.raises(ValueError, match='tries must be'):
        Judge('m', tries=0)
