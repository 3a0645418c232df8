"""The characters evaluation: episodes about what was never trained on, figures that follow the answers."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import pytest

from mmgpt.data.builders.character_pictures import (
    FACES,
    HELD_OUT_FACE,
    TRAINED_FACES,
    draw_letter,
    draw_word,
    held_out_letters,
    trained_letters,
)
from mmgpt.data.builders.character_tasks import words
from mmgpt.data.builders.digit_tasks import NAMES
from mmgpt.evaluation import CharactersEvaluation, characters
from mmgpt.evaluation.character_baseline import CharacterBaseline
from mmgpt.evaluation.character_episodes import NAMING, SHUFFLED, make_episodes
from mmgpt.registry import TASKS


@pytest.fixture(scope='module')
def episodes():
    return make_episodes(150, seed=0)


def looks(letters, faces):
    """Picture -> the letters and faces that it may be."""
    found = {}
    for letter in letters:
        for face in faces:
            found.setdefault(draw_letter(letter, face).tobytes(), set()).add((letter, face))
    return found


class Answering(CharactersEvaluation):
    """Answers by a function of the episode instead of a model."""

    def __init__(self, answer, **kwargs):
        super().__init__(**kwargs)
        self.answer = answer

    def _answers(self, model, processor, episodes):
        return [self.answer(episode) for episode in episodes]


@pytest.mark.parametrize('kind', [*NAMING, SHUFFLED])
def test_naming_is_about_held_out_scripts_across_faces(episodes, kind):
    ways, each = NAMING.get(kind, (5, 1))
    known = looks(held_out_letters(), range(len(FACES)))
    for episode in episodes[kind]:
        counts = Counter(answer for _, answer in episode.demonstrations)
        assert sorted(counts.values()) == [each] * ways
        assert {*counts, episode.expected} <= set(NAMES)
        asked = known[episode.pictures[0].tobytes()]
        shown = {(name, picture.tobytes()) for picture, name in episode.demonstrations}
        assert len({picture for _, picture in shown}) == ways * each or kind == SHUFFLED
        same = {name for name, picture in shown if {c for c, _ in known[picture]} & {c for c, _ in asked}}
        assert same == set() if kind == SHUFFLED else episode.expected in same


def test_queries_are_uniform():
    asked = Counter()
    for episode in make_episodes(600, seed=1)['naming/5way']:
        asked[[answer for _, answer in episode.demonstrations].index(episode.expected)] += 1
    assert set(asked) == set(range(5))
    assert max(abs(count - 120) for count in asked.values()) < 48  # 4.9 standard deviations


def test_reading_and_words_are_in_the_face_that_is_held_out(episodes):
    for episode in episodes['reading']:
        assert episode.expected in trained_letters()
        assert episode.pictures[0].tobytes() == draw_letter(episode.expected, HELD_OUT_FACE).tobytes()
    for episode in episodes['words']:
        assert episode.expected in words(held_out=True)
        assert episode.pictures[0].tobytes() == draw_word(episode.expected, HELD_OUT_FACE).tobytes()


def test_validation_holds_nothing_that_is_held_out():
    episodes = make_episodes(40, seed=0, validation=True)
    assert set(episodes) == {*NAMING, SHUFFLED, 'counting', 'difference'}
    known = looks(trained_letters(validation=True), TRAINED_FACES)
    for kind in (*NAMING, 'difference'):
        for episode in episodes[kind]:
            assert all(picture.tobytes() in known for picture in episode.pictures)


def test_same_seed_same_episodes(episodes):
    assert make_episodes(3, seed=0)['naming/5way'] == episodes['naming/5way'][:3]
    assert make_episodes(3, seed=1)['naming/5way'] != episodes['naming/5way'][:3]


def test_the_baseline_beats_chance_and_agrees_with_what_is_known_of_it():
    episodes = make_episodes(300, seed=0)
    baseline = CharacterBaseline(known=1000)
    found = {kind: baseline.accuracy(kind, asked) for kind, asked in episodes.items()}
    known = {'naming/2way': 0.966, 'naming/5way': 0.925, 'naming/5way_2shot': 0.958, 'naming/10way': 0.891}
    assert {kind: found[kind] for kind in known} == pytest.approx(known, abs=0.03)
    assert found[SHUFFLED] < 0.32
    assert found['difference'] > 0.5
    assert found['reading'] > 0.5
    assert 0.2 < found['counting'] < 0.9
    assert found['words'] > 0.1


def test_figures_follow_the_answers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(characters, 'CharacterBaseline', partial(CharacterBaseline, known=50))
    right = Answering(lambda episode: episode.expected, episodes=8)
    metrics = right(None, None, tmp_path)
    for part in (metrics, metrics['intervals'], metrics['counts'], metrics['baselines']):
        assert {'reading', 'words', 'counting', 'difference', 'naming'} <= set(part)
    assert metrics['words'] == metrics['naming']['10way'] == 1.0
    assert metrics['counts']['naming']['5way_2shot'] == 8
    assert 'naming/5way_shuffled' in capsys.readouterr().out
    shots = {task: rows[0]['shots'] for task, rows in right.results(metrics).items()}
    assert shots['naming_5way_2shot'] == shots['naming_10way'] == 10
    assert shots['words'] == 0

    wrong = Answering(lambda episode: 'no idea', episodes=8)
    metrics = wrong(None, None, tmp_path, limit=3)
    assert metrics['difference'] == metrics['naming']['2way'] == 0.0
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    assert len(lines) == 9 * 3
    assert not any(line['correct'] for line in lines)


def test_validation_has_results(tmp_path, monkeypatch):
    monkeypatch.setattr(characters, 'CharacterBaseline', partial(CharacterBaseline, known=50))
    task = Answering(lambda episode: episode.expected, episodes=2, validation=True)
    assert set(task.results(task(None, None, tmp_path))) >= {'naming_2way', 'counting', 'difference'}


def test_unusable_arguments_are_refused():
    with pytest.raises(ValueError, match='at least 1'):
        CharactersEvaluation(episodes=0)
    with pytest.raises(ValueError, match='at least 1'):
        CharacterBaseline(known=0)
    assert TASKS.get('CharactersEvaluation') is CharactersEvaluation
