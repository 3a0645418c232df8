"""Reading replies: every layout, every fault, and nothing lost silently."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.syphus.items import Pair
from mmgpt.syphus.prompt import write_pairs
from mmgpt.syphus.replies import parse_reply

from .reply_variants import FAULTY, ODD, whole

VARIANTS = [*whole(), *ODD, *FAULTY]
MARKS = set(
    re.findall(
        r'\w+',
        """question questions answer answers instruction instructions response q a b qa user human assistant gpt role
        content from value messages pairs data qa_pairs json reason think 问题 回答""",
    )
)


def words(text):
    return {word for word in re.findall(r'[^\W\d_]{2,}', text.lower()) if word not in MARKS}


@pytest.mark.parametrize('variant', VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_reply(variant):
    found = parse_reply(variant.text, variant.finish)
    assert [pair[:2] for pair in found.pairs] == variant.pairs
    reasons = [fault.reason for fault in found.faults]
    if variant.reason:
        assert any(variant.reason in reason for reason in reasons)
    else:
        assert reasons == []


def test_there_are_at_least_two_hundred():
    assert len({variant.text for variant in VARIANTS}) >= 200


@pytest.mark.parametrize('variant', VARIANTS, ids=[variant.name for variant in VARIANTS])
def test_nothing_is_lost_silently(variant):
    found = parse_reply(variant.text, variant.finish)
    told = [*(' '.join((*pair[:2], *pair.extra.values())) for pair in found.pairs), *(f.text for f in found.faults)]
    told += found.remarks
    spoken = re.sub(r'(?s)<think>.*?(</think>|\Z)', '', variant.text)
    lost = words(spoken) - words(' '.join(told))
    assert lost <= {'true', 'null', 'conversation'} if variant.pairs or found.faults else not lost


def test_a_bracket_within_a_question_is_no_json():
    text = 'Question: Which of ["cat", "dog"] is bigger?\nAnswer: The dog is bigger.'
    assert [pair[:2] for pair in parse_reply(text).pairs] == [
        ('Which of ["cat", "dog"] is bigger?', 'The dog is bigger.')
    ]
    text = 'Question: What stands there?\nAnswer: It says {"question": "x", "answer": "y"}.'
    assert [pair.instruction for pair in parse_reply(text).pairs] == ['What stands there?']


def test_of_cut_json_only_what_was_cut_is_lost():
    pairs = [{'question': f'What is {name}?', 'answer': f'It is {name}.'} for name in 'abc']
    found = parse_reply(json.dumps(pairs)[:-12], 'length')
    assert [pair.instruction for pair in found.pairs] == ['What is a?', 'What is b?']
    assert found.faults


texts = st.text(st.characters(codec='utf-8', exclude_characters='\r\x00'), max_size=300)


@given(texts)
@settings(max_examples=150, deadline=None)
def test_any_text_ends_in_pairs_or_in_a_reason(text):
    found = parse_reply(text)
    assert found.pairs or found.faults
    assert all(pair.instruction.strip() and pair.answer.strip() for pair in found.pairs)


plain = st.text(st.sampled_from('abc déf. 日本 ,;-()'), min_size=1, max_size=40).map(lambda text: f'x{text}x')


@given(st.lists(st.tuples(plain, plain), min_size=1, max_size=5), st.sampled_from(['json', 'text']))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(pairs, form):
    pairs = tuple(Pair(question, answer) for question, answer in pairs)
    assert parse_reply(write_pairs(pairs, form)).pairs == pairs
