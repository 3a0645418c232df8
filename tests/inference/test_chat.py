from dataclasses import replace

import pytest

from mmgpt.inference.chat import Chat
from mmgpt.inference.generation import GenerationSettings
from tests.hub import tiny
from tests.hub.tiny import assistant, picture, user

SETTINGS = GenerationSettings(max_new_tokens=6)


@pytest.fixture
def chat():
    return Chat(*tiny.model_and_processor(), settings=SETTINGS)


def generated(messages) -> str:
    """What plain ``generate`` says."""
    model, processor = tiny.model_and_processor()
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    out = model.generate(**inputs, max_new_tokens=SETTINGS.max_new_tokens, do_sample=False)
    return processor.decode(out[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True).strip()


def with_image(text, value):
    return user(text, {'type': 'image', 'image': picture(value)})


def test_an_answer_is_what_generate_gives_and_earlier_turns_stay_visible(chat):
    first = chat.ask('What is it?', images=[picture(0)])
    assert first.text == generated([with_image('What is it?', 0)])
    assert 1 <= first.tokens <= 6
    assert first.seconds > 0
    second = chat.ask('Why?')
    assert second.text == generated([with_image('What is it?', 0), assistant(first.text), user('Why?')])


def test_system_and_examples_come_first():
    examples = [with_image('What?', 1), assistant('A dog.')]
    chat = Chat(*tiny.model_and_processor(), system='Look.', examples=examples, settings=SETTINGS)
    expected = generated([{'role': 'system', 'content': 'Look.'}, *examples, with_image('What?', 2)])
    assert chat.ask('What?', images=[picture(2)]).text == expected


def test_a_video_is_one_medium(chat):
    frames = [picture(i) for i in range(3)]
    expected = generated([user('What?', {'type': 'video', 'video': frames})])
    assert chat.ask('What?', video=frames).text == expected


@pytest.mark.parametrize('beams', [1, 3])
def test_streamed_pieces_make_the_answer(beams):
    chat = Chat(*tiny.model_and_processor(), settings=GenerationSettings(max_new_tokens=12, num_beams=beams))
    pieces = []
    reply = chat.ask('What is it?', images=[picture(0)], on_text=pieces.append)
    assert ''.join(pieces).rstrip() == reply.text
    assert all(pieces)


def test_after_an_error_the_conversation_is_as_before(chat):
    chat.ask('What?', images=[picture(0)])
    before = list(chat.history)
    with pytest.raises(FileNotFoundError, match=r'nowhere\.png'):
        chat.ask('And this?', images=['nowhere.png'])
    assert chat.history == before


def test_undo_and_clear(chat):
    chat.ask('One?')
    chat.ask('Two?')
    assert chat.undo()
    assert [message['role'] for message in chat.messages] == ['user', 'assistant']
    chat.clear()
    assert chat.messages == []
    assert not chat.undo()


def test_two_chats_share_nothing():
    pair = tiny.model_and_processor()
    alone = Chat(*pair, settings=SETTINGS)
    expected = [alone.ask('What?', images=[picture(0)]).text, alone.ask('Why?').text]
    one, two = Chat(*pair, settings=SETTINGS), Chat(*pair, settings=SETTINGS)
    answers = [one.ask('What?', images=[picture(0)]).text]
    two.ask('What is that?', images=[picture(5), picture(6)])
    answers.append(one.ask('Why?').text)
    assert answers == expected


def test_the_next_turn_goes_on_where_the_last_one_ended(chat):
    assert chat.ask('What is it?', images=[picture(0)]).reused == 0
    assert chat.ask('And this?', images=[picture(1)]).reused > 0
    chat.undo()
    assert chat.ask('And that?', images=[picture(2)]).reused > 0
    chat.clear()
    assert chat.ask('What is it?', images=[picture(0)]).reused == 0


def test_examples_may_be_short_and_belong_to_a_question():
    chat = Chat(*tiny.model_and_processor(), settings=SETTINGS)
    short = [{'image': picture(1), 'text': 'What?', 'answer': 'A dog.'}]
    expected = generated([with_image('What?', 1), assistant('A dog.'), with_image('What?', 2)])
    assert chat.ask('What?', images=[picture(2)], examples=short).text == expected
    assert [message['role'] for message in chat.messages] == ['user', 'assistant'] * 2


def test_a_question_is_answered_again_and_asked_otherwise(chat):
    first = chat.ask('What is it?', images=[picture(0)]).text
    chat.ask('Why?')
    assert chat.regenerate().text == generated([with_image('What is it?', 0), assistant(first), user('Why?')])
    assert len(chat.history) == 4
    edited = chat.edit('What digit is it?', turn=0)
    assert edited.text == generated([with_image('What digit is it?', 0)])  # the picture stayed
    assert len(chat.history) == 2
    assert chat.edit('What?', images=[picture(3)]).text == generated([with_image('What?', 3)])
    with pytest.raises(IndexError, match='1 turns'):
        chat.edit('What?', turn=1)
    chat.undo()
    with pytest.raises(ValueError, match='nothing was asked'):
        chat.regenerate()


@pytest.mark.parametrize('beams', [1, 2])
def test_a_stop_string_ends_the_answer(beams):
    settings = GenerationSettings(max_new_tokens=12, num_beams=beams)
    whole = Chat(*tiny.model_and_processor(), settings=settings).ask('What is it?').text
    stop = whole[4:6]
    chat = Chat(*tiny.model_and_processor(), settings=replace(settings, stop=(stop,)))
    pieces = []
    reply = chat.ask('What is it?', on_text=pieces.append)
    assert reply.text == ''.join(pieces) == whole[: whole.index(stop)].strip()
    assert beams > 1 or reply.tokens < 12


def test_the_templates_own_stop_strings(chat, monkeypatch):
    whole = chat.ask('What is it?').text
    monkeypatch.setattr(type(chat.processor.prompter.template), 'stop_strings', (whole[2:4],))
    assert chat.regenerate().text == whole[: whole.index(whole[2:4])].strip()


def test_the_seed_settles_the_draws():
    settings = GenerationSettings(max_new_tokens=8, temperature=1.5, seed=4)
    texts = {Chat(*tiny.model_and_processor(), settings=settings).ask('What?').text for _ in range(2)}
    assert len(texts) == 1
    other = replace(settings, seed=5)
    assert Chat(*tiny.model_and_processor(), settings=other).ask('What?').text not in texts


def test_settings_as_a_user_types_them():
    settings = GenerationSettings().changed('temperature', '0.5').changed('stop', 'a b').changed('seed', '3')
    assert (settings.temperature, settings.stop, settings.seed) == (0.5, ('a', 'b'), 3)
    with pytest.raises(ValueError, match='no setting'):
        settings.changed('heat', '1')
    with pytest.raises(ValueError, match='top_p must be'):
        settings.changed('top_p', '0')
