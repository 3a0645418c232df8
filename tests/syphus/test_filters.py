"""Filters: planted bad pairs are found, clean ones are not; each filter by itself, too."""

import asyncio
from collections import Counter
from importlib.resources import files
from types import SimpleNamespace

import pytest

from mmgpt.inference.endpoint import EndpointError, RequestFailed
from mmgpt.inference.endpoint_cache import Reply
from mmgpt.registry import SYPHUS_FILTERS
from mmgpt.syphus.filters import DEFAULT, Candidate
from mmgpt.syphus.filters.duplicates import NearDuplicates
from mmgpt.syphus.filters.grounding import names_in, numbers_in
from mmgpt.syphus.filters.language import wrong_language
from mmgpt.syphus.filters.texts import count_words
from mmgpt.syphus.filters.unsafe_model import UnsafeByModel
from mmgpt.syphus.items import Item
from mmgpt.syphus.prompt import read_prompt
from mmgpt.syphus.stages.filter import apply_filters
from mmgpt.syphus.state import State

from .planted import clean_and_planted

pytest.importorskip('lingua', reason='pip install lingua-language-detector')
UNSEEN = (20261127, 1)  # the seed and the half of the words that no threshold was chosen by


def score(seed: int, half: int):
    """Recall of each kind, the share of clean pairs that were dropped, and what was wrong."""
    filters = [SYPHUS_FILTERS.build(dict(type=name)) for name in DEFAULT]
    for one in filters:
        one.begin()
    planted, found, false, wrong = Counter(), Counter(), 0, []
    candidates, clean = clean_and_planted(seed, half)
    for candidate, kind in candidates:
        verdict = next(((type(one).__name__, why) for one in filters if (why := one(candidate))), None)
        planted[kind] += 1
        found[kind] += verdict is not None
        if (verdict is None) == bool(kind):
            wrong.append((kind, verdict, candidate.instruction, candidate.answer[:100]))
            false += not kind
    recall = {kind: found[kind] / count for kind, count in planted.items() if kind}
    return recall, false / clean, wrong


@pytest.mark.parametrize(('seed', 'half'), [(1, 0), UNSEEN])
def test_planted_bad_pairs_are_found_and_clean_ones_kept(seed, half):
    recall, false, wrong = score(seed, half)
    assert set(recall) == set(DEFAULT)
    assert min(recall.values()) >= 0.95, (recall, wrong)
    assert false <= 0.02, wrong


def test_the_shipped_examples_pass():
    filters = [SYPHUS_FILTERS.build(dict(type=name)) for name in DEFAULT]
    for path in files('mmgpt.syphus').joinpath('prompts').iterdir():
        for query, pairs in read_prompt(path).examples:
            for pair in pairs:
                candidate = Candidate(0, path.name, pair.instruction, pair.answer, query)
                assert [why for one in filters[:7] if (why := one(candidate))] == [], (path.name, pair)


def drops(name, instruction, answer, facts='', **options):
    one = SYPHUS_FILTERS.build(dict(type=name, **options))
    one.begin()
    return one(Candidate(0, 'i', instruction, answer, facts))


@pytest.mark.parametrize(
    ('name', 'question', 'answer'),
    [
        ('Empty', 'Is there any?', 'None.'),
        ('Empty', 'What digit is this?', '7'),
        ('Refusals', 'What does he say?', 'He is sorry and cannot find his keys.'),
        ('Refusals', 'Why does she laugh?', 'She cannot believe what she sees.'),
        ('Leakage', 'What does the sign say?', 'The text on it says: closed.'),
        ('Leakage', 'Which score is shown?', 'It is 3:1 for the red team.'),
        ('OtherLanguage', 'What is it called?', 'Spätzle'),
        ('Unsafe', 'Where is she?', 'In a grape garden with a therapist.'),
        ('Ungrounded', 'Is it even?', 'Yes. On Monday, too, I guess.'),
    ],
)
def test_what_looks_like_a_fault_and_is_none(name, question, answer):
    assert drops(name, question, answer, 'a dog') is None


def test_options_of_filters():
    assert drops('Leakage', 'Where?', 'At [1, 2, 3, 4].')
    assert drops('Leakage', 'Where?', 'At [1, 2, 3, 4].', allow=['coordinates']) is None
    assert drops('Leakage', 'Where?', 'At XQZ7.', patterns=['XQ.7'])
    assert drops('Unsafe', 'Where?', 'A bazooka there.', words=['bazook*'])
    assert drops('Ungrounded', 'How many?', 'There are three dogs.', 'a dog', counted=0)
    assert drops('Ungrounded', 'How many?', 'There are three dogs.', 'a dog') is None
    for wrong in (dict(type='Leakage', allow=['x']), dict(type='Length', answer=(3, 1)), dict(type='Unsafe', words=[])):
        with pytest.raises(ValueError, match=r'kind|fewest|needs'):
            SYPHUS_FILTERS.build(wrong)


def test_names_and_numbers():
    assert names_in("Then Ann's dog meets Mr. Bob Hill. Everyone laughs. TV is off.") == ["Ann's", 'Bob', 'Hill']
    assert numbers_in('Two dozen of 1,234 or 3.5; twenty-one, five hundred') == [1234.0, 3.5, 2, 12, 21, 500]


def test_short_answers_may_be_the_same_about_other_items():
    one = NearDuplicates()
    one.begin()
    pair = Candidate(0, 'a', 'What digit is this?', 'It is a seven.')
    assert one(pair) is None
    assert one(pair._replace(id=1, item='b')) is None
    assert one(pair._replace(id=2)) is not None


def test_short_pairs_are_found_however_many_items_have_them():
    one = NearDuplicates()
    one.begin()
    for number in range(60):
        pair = Candidate(2 * number, f'item {number}', 'What digit is this?', 'It is a seven.')
        assert one(pair) is None
        assert 'item' in one(pair._replace(id=2 * number + 1))


class Judge:
    """Stands for an endpoint: refuses one request, and fails for good at another while the rest is in flight."""

    def __init__(self, hopeless=''):
        self.hopeless, self.answered = hopeless, []

    async def ask(self, messages, **sampling):
        told = messages[-1]['content']
        await asyncio.sleep(0 if 'place 2' in told else 0.01)
        if 'place 2' in told:
            raise EndpointError('no money left') if self.hopeless else RequestFailed('status 400: content filter')
        self.answered.append(told)
        return Reply('unsafe' if 'place 3' in told else 'safe')


def judged(tmp_path, judge):
    state = State(tmp_path / 'state.sqlite')
    state.add_items([Item(f'i{n}', (f'I_{n}',), 'a note') for n in range(5)], 'items')
    for n in range(5):
        state.write(
            'INSERT INTO pairs VALUES (?, ?, ?, 0, ?, ?, ?, NULL, NULL)', (n, n, '', f'What is at place {n}?', 'A', '')
        )
    task = SimpleNamespace(facts=lambda item: '')
    try:
        asyncio.run(apply_filters(state, task, [UnsafeByModel()], judge, lambda: None))
    finally:
        found = state.base.execute('SELECT verdict, detail FROM pairs ORDER BY id').fetchall()
        state.close()
    return found


def test_a_pair_that_the_endpoint_refuses_to_judge_is_dropped_with_the_reason(tmp_path):
    found = judged(tmp_path, Judge())
    assert [verdict for verdict, _ in found] == ['kept', 'kept', 'UnsafeByModel', 'UnsafeByModel', 'kept']
    assert 'could not be judged' in found[2][1]
    assert 'content filter' in found[2][1]


def test_requests_in_flight_end_before_an_error_stops_the_filters(tmp_path):
    judge = Judge(hopeless='yes')
    with pytest.raises(EndpointError, match='no money'):
        judged(tmp_path, judge)
    assert len(judge.answered) == 4


LANGUAGE_CASES = [
    ('这是一只狗。', 'zh', True),
    ('これは犬です。', 'ja', True),
    ('이것은 개입니다.', 'ko', True),
    ('هذا كلب.', 'ar', True),
    ('这是一只狗，它很大。', 'ja', False),
    ('これは犬です。', 'zh', False),
    ('This is a dog.', 'ko', False),
    ('Das ist ein großer Hund im Garten.', 'de', True),
    ('Das ist ein großer Hund im Garten.', 'fr', False),
    ('C’est un grand chien dans le jardin.', 'fr', True),
    ('Es un perro grande en el jardín.', 'es', True),
    ('<image> 这是 {name} 的狗', 'zh', True),
    ('7', 'ar', True),
]


@pytest.mark.parametrize(('text', 'language', 'right'), LANGUAGE_CASES)
def test_languages(text, language, right):
    assert (wrong_language(text, language) is None) == right


def test_words_are_counted_in_scripts_without_blanks():
    assert (count_words("It's a well-known dog."), count_words('这是一只狗')) == (4, 3)
