import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.inference.answer_text import AnswerText, spelt
from tests.hub import tiny

TOKENIZER = tiny.tokenizer()


def pieces(ids, stop=(), tokenizer=TOKENIZER):
    answer = AnswerText(tokenizer, stop)
    made = [answer.add(token) for token in ids] + [answer.end()]
    assert ''.join(made) == answer.text
    return made, answer


@settings(deadline=None)
@given(st.text(max_size=40))
def test_the_pieces_are_the_text_without_blanks_at_its_ends(text):
    made, _ = pieces(TOKENIZER(text, add_special_tokens=False)['input_ids'])
    whole = TOKENIZER.decode(TOKENIZER(text, add_special_tokens=False)['input_ids'], skip_special_tokens=True)
    assert ''.join(made) == whole.strip()


@settings(deadline=None)
@given(st.lists(st.integers(3, 290), max_size=30))
def test_of_any_tokens_too(ids):
    made, _ = pieces(ids)
    assert ''.join(made) == TOKENIZER.decode(ids, skip_special_tokens=True).strip()


@settings(deadline=None)
@given(st.text('ab#', max_size=30), st.lists(st.text('ab#', min_size=1, max_size=4), max_size=3))
def test_a_stop_string_ends_it_and_nothing_of_one_is_told(text, stop):
    made, answer = pieces(TOKENIZER(text, add_special_tokens=False)['input_ids'], stop)
    places = [text.index(one) for one in stop if one in text]
    if not places:
        assert ''.join(made) == text
    else:  # the first that is whole ends it
        ends = min(text.index(one) + len(one) for one in stop if one in text)
        assert answer.stopped
        assert text.startswith(''.join(made))
        assert len(''.join(made)) < ends


@pytest.mark.parametrize(
    'text', ['这是一只可爱的小猫', 'the answer is 안녕하세요 ok', '猫と犬です.', '😀😀😀 a', ' the last digit ']
)
def test_characters_that_are_spelt_in_bytes_come_whole(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)['input_ids']
    made, _ = pieces(ids, tokenizer=tokenizer)
    assert ''.join(made) == tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert '\N{REPLACEMENT CHARACTER}' not in ''.join(made)


@pytest.mark.parametrize(('text', 'told'), [('\n\n### Instruction: do it', ''), ('x\n\n### Instruction: do it', 'x')])
def test_a_stop_string_that_begins_with_blanks_is_found_in_an_empty_answer_too(text, told):
    made, answer = pieces(TOKENIZER(text, add_special_tokens=False)['input_ids'], ['\n\n### Instruction:'])
    assert answer.stopped
    assert ''.join(made) == told


@pytest.mark.parametrize('text', ['a dog', 'is 猫 and é😀😀 x', '안', 'a  b\nc', 'x\N{REPLACEMENT CHARACTER}y'])
def test_tokens_have_their_own_bytes(any_tokenizer, text):
    made = [spelt(any_tokenizer, token) for token in any_tokenizer(text, add_special_tokens=False)['input_ids']]
    whole = b''.join(part for _, part in made).decode()
    assert whole.removeprefix(' ') == text  # LLaMA's put a blank before the first word
    assert all(told == part.decode(errors='replace') for told, part in made if text.isascii())


def test_a_token_that_is_no_bytes_is_itself(any_tokenizer):
    token = any_tokenizer.convert_tokens_to_ids('<answer>')
    assert spelt(any_tokenizer, token) == ('<answer>', b'<answer>')
