"""The digits evaluation: episodes as the interface says, figures that follow the answers, baselines that work."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from mmgpt.data.builders.digit_pictures import load_digit_pictures
from mmgpt.data.builders.digit_tasks import NAMES
from mmgpt.evaluation import DigitsEvaluation
from mmgpt.evaluation.digit_baselines import DigitBaseline
from mmgpt.evaluation.digit_episodes import make_episodes
from mmgpt.evaluation.episodes import Episode
from mmgpt.evaluation.figures import bootstrap_interval
from mmgpt.registry import TASKS

pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]" brings scikit-learn')
NAMING = {'0': (2, 0), '2': (2, 1), '4': (2, 2), '4_shuffled': (2, 2), '5way': (5, 1)}  # names, pictures of each


@pytest.fixture(scope='module')
def held_out():
    return load_digit_pictures(held_out=True)


@pytest.fixture(scope='module')
def episodes(held_out):
    return make_episodes(held_out, 120, seed=0)


@pytest.fixture(scope='module')
def digit_of(held_out):
    labels = {picture.tobytes(): int(label) for picture, label in zip(*held_out, strict=True)}
    return lambda picture: labels[picture.tobytes()]


class Answering(DigitsEvaluation):
    """Answers by a function of the episode instead of a model."""

    def __init__(self, answer, **kwargs):
        super().__init__(**kwargs)
        self.answer = answer

    def _answers(self, model, processor, episodes):
        return [self.answer(episode) for episode in episodes]


def test_reading_asks_about_every_held_out_picture(episodes, held_out):
    assert len(episodes['reading']) == 360
    assert [episode.expected for episode in episodes['reading']] == [str(label) for label in held_out.labels]


def test_pictures_of_an_episode_differ(episodes):
    for name in set(episodes) - {'counting'}:
        for episode in episodes[name]:
            pictures = [picture.tobytes() for picture, _ in episode.demonstrations]
            pictures += [picture.tobytes() for picture in episode.pictures]
            assert len(set(pictures)) == len(pictures), name


@pytest.mark.parametrize('kind', NAMING)
def test_naming_episodes_are_as_the_interface_says(episodes, digit_of, kind):
    ways, each = NAMING[kind]
    for episode in episodes[f'naming/{kind}']:
        shown = Counter(answer for _, answer in episode.demonstrations)
        assert sorted(shown.values()) == [each] * (ways if each else 0)
        assert {*shown, episode.expected} <= set(NAMES)
        asked = digit_of(episode.pictures[0])
        for picture, answer in episode.demonstrations:
            if kind == '4_shuffled':
                assert digit_of(picture) != asked
            else:
                assert (digit_of(picture) == asked) == (answer == episode.expected)


def test_order_and_query_are_uniform(held_out):
    asked = Counter()
    for episode in make_episodes(held_out, 1000, seed=1)['naming/5way']:
        asked[[answer for _, answer in episode.demonstrations].index(episode.expected)] += 1
    assert set(asked) == set(range(5))
    assert max(abs(count - 200) for count in asked.values()) < 60  # 200 ± 4.7 standard deviations


def test_answers_of_comparison_and_order(episodes, digit_of):
    for episode in episodes['comparison']:
        first, second = map(digit_of, episode.pictures)
        assert episode.expected == ('same' if first == second else 'first' if first > second else 'second')
    for episode in episodes['order']:
        assert episode.as_video
        assert episode.expected == str(digit_of(episode.pictures[-1]))
    assert {len(episode.pictures) for episode in episodes['order']} == {2, 3, 4}


def test_messages(held_out):
    first, second = held_out.pictures[:2]
    episode = Episode('What is this called?', (second,), 'dax', ((first, 'zorb'),))
    question = {'type': 'text', 'text': 'What is this called?'}
    assert episode.messages() == [
        {'role': 'user', 'content': [{'type': 'image', 'image': first}, question]},
        {'role': 'assistant', 'content': 'zorb'},
        {'role': 'user', 'content': [{'type': 'image', 'image': second}, question]},
    ]
    video = Episode('Which digit comes last?', (first, second), '1', as_video=True)
    assert video.messages()[0]['content'][0] == {'type': 'video', 'video': [first, second]}


def test_same_seed_same_episodes(held_out):
    one, same, other = (make_episodes(held_out, 5, seed) for seed in (0, 0, 1))
    key = 'naming/4'
    assert [e.messages() for e in one[key]] == [e.messages() for e in same[key]]
    assert [e.messages() for e in one[key]] != [e.messages() for e in other[key]]


def test_figures_follow_the_answers(tmp_path, capsys):
    right = Answering(lambda episode: episode.expected, episodes=10)
    metrics = right(None, None, tmp_path)
    for part in (metrics, metrics['intervals'], metrics['counts'], metrics['baselines']):
        assert {'reading', 'counting', 'comparison', 'order', 'naming'} <= set(part)
        assert set(part['naming']) == set(NAMING)
    assert metrics['reading'] == metrics['order'] == metrics['naming']['5way'] == 1.0
    assert metrics['intervals']['naming']['2'] == [1.0, 1.0]
    assert metrics['counts'] == {
        **dict.fromkeys(('counting', 'comparison', 'order'), 10),
        'reading': 360,
        'naming': dict.fromkeys(NAMING, 10),
    }
    assert json.loads((tmp_path / 'names.json').read_text()) == list(NAMES)
    assert 'naming/4_shuffled' in capsys.readouterr().out

    wrong = Answering(lambda episode: '7' if episode.expected == '7' else 'no idea', episodes=10)
    metrics = wrong(None, None, tmp_path)
    sevens = int((load_digit_pictures(held_out=True).labels == 7).sum())
    assert metrics['reading'] == pytest.approx(sevens / 360)
    assert metrics['naming']['4'] == 0.0
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    assert len(lines) == 360 + 8 * 10
    assert sum(line['correct'] for line in lines if line['task'] == 'reading') == sevens
    assert all(line['correct'] == (line['answer'] == line['expected']) for line in lines)


def test_results_by_number_of_demonstrations(tmp_path):
    task = Answering(lambda episode: episode.expected, episodes=3)
    results = task.results(task(None, None, tmp_path, limit=2))
    row = {'trials': [1.0], 'mean': 1.0, 'stddev': 0.0}
    assert results['naming'] == [{'shots': shots, **row} for shots in (0, 2, 4)]
    assert results['naming_4_shuffled'] == [{'shots': 4, **row}]
    assert results['naming_5way'] == [{'shots': 5, **row}]
    assert results['reading'] == [{'shots': 0, **row}]


def test_baselines(episodes):
    trained_on = load_digit_pictures()
    neighbour, svm = (DigitBaseline(trained_on, kind, composed=300) for kind in DigitBaseline.kinds)
    assert svm.accuracy('reading', episodes['reading']) == pytest.approx(0.96, abs=0.02)
    assert neighbour.accuracy('reading', episodes['reading']) == pytest.approx(0.96, abs=0.02)
    assert svm.accuracy('naming/4', episodes['naming/4']) > neighbour.accuracy('naming/2', episodes['naming/2'])
    assert svm.accuracy('naming/4', episodes['naming/4']) > 0.9
    assert svm.accuracy('comparison', episodes['comparison']) > 0.85
    assert svm.accuracy('order', episodes['order']) > 0.9
    assert svm.accuracy('counting', episodes['counting']) > 0.35  # chance is 0.2
    for baseline in (neighbour, svm):
        assert baseline.accuracy('naming/0', episodes['naming/0']) < 0.12
        assert 0.3 < baseline.accuracy('naming/4_shuffled', episodes['naming/4_shuffled']) < 0.7


def test_bootstrap_interval():
    low, high = bootstrap_interval([True] * 90 + [False] * 10)
    assert low == pytest.approx(0.84, abs=0.02)  # 0.9 ± 1.96 · 0.03
    assert high == pytest.approx(0.96, abs=0.02)
    wider = bootstrap_interval([True] * 9 + [False])
    assert np.ptp(wider) > 2 * (high - low)


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match='at least 1'):
        DigitsEvaluation(episodes=0)
    assert TASKS.get('DigitsEvaluation') is DigitsEvaluation


class Recorder:
    """A processor and a model that answer '<picture's brightest pixel>' through the interfaces that real ones have."""

    class Inputs(dict):
        def to(self, device):
            return self

    def __init__(self):
        self.tokenizer, self.batches = self, []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def parameters(self):
        return iter([self.weight])

    def apply_chat_template(self, conversations, **how):
        assert how == dict(add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt')
        self.batches.append(len(conversations))
        pictures = [messages[-1]['content'][0]['image'] for messages in conversations]
        brightest = torch.tensor([[picture.getextrema()[1]] for picture in pictures])
        return self.Inputs(input_ids=torch.full((len(pictures), 3), -1), brightest=brightest)

    def generate(self, input_ids, brightest, **how):
        assert how['do_sample'] is False
        return torch.cat([input_ids, brightest], 1)

    def batch_decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return [f' {int(row[-1])}' for row in ids]


def test_a_model_is_asked_in_batches_and_only_what_it_adds_is_the_answer(held_out):
    recorder = Recorder()
    episodes = [Episode('What digit is this?', (picture,), '') for picture in held_out.pictures[:5]]
    answers = DigitsEvaluation(batch_size=2)._answers(recorder, recorder, episodes)
    assert recorder.batches == [2, 2, 1]
    assert answers == [str(picture.getextrema()[1]) for picture in held_out.pictures[:5]]
