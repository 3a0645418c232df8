"""Ratings from votes: against formulas by hand, against scipy, and on votes drawn from known strengths."""

import json

import numpy as np
import pytest

from mmgpt.evaluation.battles import battles, bradley_terry, connected, elo, rate, read_battles, win_matrix
from tools.analysis_tools import rate_battles


def record(a, b, winner, time=0.0):
    return {'model_a': a, 'model_b': b, 'winner': winner, 'tstamp': time}


def given(*records):
    return battles((f'record {number}', each) for number, each in enumerate(records))


def drawn(strengths, count, seed=0):
    """Votes of which the first of two wins with the probability that its strength gives it; one in five ties."""
    rng = np.random.default_rng(seed)
    names = list(strengths)
    records = []
    for number in range(count):
        a, b = rng.choice(len(names), 2, replace=False)
        odds = 1 / (1 + 10 ** ((strengths[names[b]] - strengths[names[a]]) / 400))
        winner = 'model_a' if rng.random() < odds else 'model_b'
        records.append(record(names[a], names[b], winner, float(number)))
    return given(*records)


def test_three_battles_by_hand():
    votes = given(record('a', 'b', 'model_a'), record('b', 'c', 'tie (bothbad)'), record('c', 'a', 'model_b'))
    a, b, c = 1000.0, 1000.0, 1000.0
    a, b = a + 16, b - 16
    expected = 1 / (1 + 10 ** ((c - b) / 400))
    b, c = b + 32 * (0.5 - expected), c - 32 * (0.5 - expected)
    expected = 1 / (1 + 10 ** ((a - c) / 400))
    c, a = c + 32 * (0 - expected), a - 32 * (0 - expected)
    assert elo(votes, k=32) == pytest.approx([a, b, c], abs=1e-9)
    assert elo(votes, k=32).sum() == pytest.approx(3000)


def test_votes_are_taken_in_the_order_of_their_times():
    late, early = record('a', 'b', 'model_a', 9.0), record('a', 'b', 'model_b', 1.0)
    assert elo(given(late, early)).tolist() == elo(given(early, late)).tolist() != [1000, 1000]


def test_bradley_terry_is_the_likeliest():
    optimize = pytest.importorskip('scipy.optimize', reason='pip install "mmgpt[pretraining]"')
    wins = win_matrix(drawn({'a': 1100, 'b': 1000, 'c': 950, 'd': 900}, 300))

    def unlikely(ratings):
        gaps = (ratings[:, None] - ratings[None]) * np.log(10) / 400
        return -(wins * -np.log1p(np.exp(-gaps))).sum()

    best = optimize.minimize(unlikely, np.zeros(4), tol=1e-12).x
    assert bradley_terry(wins, prior=0.0) == pytest.approx(best - best.mean() + 1000, abs=1e-2)


def test_known_strengths_are_found_within_their_intervals():
    strengths = {'otter': 1060.0, 'llava': 1010.0, 'minigpt': 930.0}
    rated = rate(drawn(strengths, 3000), resamples=200)
    assert list(rated['models']) == ['otter', 'llava', 'minigpt']
    for name, row in rated['models'].items():
        assert row['bradley_terry'] == pytest.approx(strengths[name], abs=25)
        assert row['bradley_terry_interval'][0] < strengths[name] < row['bradley_terry_interval'][1]
        assert row['elo_interval'][0] < row['elo_median'] < row['elo_interval'][1]
    assert sum(row['battles'] for row in rated['models'].values()) == 2 * 3000


def test_who_never_lost_is_not_infinitely_good():
    rated = rate(given(*[record('a', 'b', 'model_a', t) for t in range(5)]), resamples=20)
    assert 1100 < rated['models']['a']['bradley_terry'] < 2500
    assert rated['models']['b']['win_rate'] == 0


def test_groups_that_nothing_connects_are_told(tmp_path, capsys):
    path = tmp_path / 'battles.jsonl'
    path.write_text('\n'.join(map(json.dumps, (record('a', 'b', 'tie'), record('c', 'd', 'model_a')))) + '\n')
    assert connected(read_battles(path)) == [['a', 'b'], ['c', 'd']]
    outputs = tmp_path / 'ratings.json', tmp_path / 'wins.png'
    assert rate_battles.main([str(path), '--json', str(outputs[0]), '--plot', str(outputs[1])]) == 0
    assert 'do not compare: a, b; c, d' in capsys.readouterr().out
    assert json.loads(outputs[0].read_text())['battles'] == 2
    assert outputs[1].read_bytes().startswith(b'\x89PNG')


def test_a_list_is_read_as_lines_are(tmp_path):
    records = [record('a', 'b', 'model_a', 2), record('b', 'a', 'tie', 1)]
    (tmp_path / 'list.json').write_text(json.dumps(records))
    (tmp_path / 'lines.jsonl').write_text('\n\n'.join(map(json.dumps, records)))
    both = [read_battles(tmp_path / name) for name in ('list.json', 'lines.jsonl')]
    assert elo(both[0]).tolist() == elo(both[1]).tolist()


@pytest.mark.parametrize(
    ('line', 'said'),
    [
        ('{"model_a": "a"', 'line 2: this is no JSON'),
        ('[]', 'line 2: a battle is a JSON object, got list'),
        ('{"model_a": "a", "model_b": 3, "winner": "tie"}', "line 2: 'model_b' must name a model, got 3"),
        ('{"model_a": "a", "model_b": "a", "winner": "tie"}', "line 2: 'a' met itself"),
        ('{"model_a": "a", "model_b": "b", "winner": "both"}', "line 2: 'winner' must be one of model_a"),
        ('{"model_a": "a", "model_b": "b", "winner": "tie", "tstamp": "now"}', "line 2: 'tstamp' must be seconds"),
    ],
)
def test_a_faulty_record_is_named(tmp_path, capsys, line, said):
    path = tmp_path / 'battles.jsonl'
    path.write_text(json.dumps(record('a', 'b', 'tie')) + '\n' + line + '\n')
    assert rate_battles.main([str(path)]) == 1
    assert said in capsys.readouterr().err


def test_bad_usage(tmp_path, capsys):
    assert rate_battles.main([str(tmp_path / 'none.jsonl')]) == 2
    (tmp_path / 'empty.jsonl').write_text('')
    assert rate_battles.main([str(tmp_path / 'empty.jsonl')]) == 1
    assert 'no battle record' in capsys.readouterr().err
    assert rate_battles.main([str(tmp_path / 'empty.jsonl'), '--resamples', '1']) == 2


@pytest.mark.parametrize(
    'options', [('--seed', '-1'), ('--k', 'inf'), ('--json', 'nowhere/x.json'), ('--plot', 'x.foo')]
)
def test_what_cannot_be_done_is_one_message_and_code_2(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'votes.jsonl').write_text(json.dumps(record('a', 'b', 'tie')) + '\n')
    assert rate_battles.main(['votes.jsonl', '--resamples', '2', *options]) == 2
    assert capsys.readouterr().err.startswith('rate_battles: ')


def test_a_name_may_hold_any_line_separator(tmp_path):
    record = {'model_a': 'a\u2028', 'model_b': 'b', 'winner': 'tie'}
    (tmp_path / 'votes.jsonl').write_text(json.dumps(record, ensure_ascii=False) + '\n', 'utf-8')
    assert read_battles(tmp_path / 'votes.jsonl').models == ('a\u2028', 'b')
