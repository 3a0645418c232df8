import pytest
from PIL import Image

from mmgpt.hub.messages import is_batch, read_messages
from mmgpt.structures import Medium, Turn

RED, BLUE = Image.new('RGB', (4, 4), 'red'), Image.new('RGB', (4, 4), 'blue')


def user(*parts) -> list[dict]:
    return [{'role': 'user', 'content': list(parts)}]


def test_text_may_be_a_string_or_parts():
    text = {'type': 'text', 'text': 'Hello'}
    assert read_messages([{'role': 'user', 'content': 'Hello'}]) == read_messages(user(text)) == [Turn('user', 'Hello')]
    assert read_messages(user(text, text))[0].text == 'Hello\nHello'


def test_roles_and_order_are_kept():
    messages = [{'role': role, 'content': role} for role in ('system', 'user', 'assistant', 'user')]
    assert [turn.role for turn in read_messages(messages)] == ['system', 'user', 'assistant', 'user']


def test_each_image_is_a_medium_and_each_set_or_video_is_one():
    (turn,) = read_messages(
        user(
            {'type': 'image', 'image': RED},
            {'type': 'text', 'text': 'and'},
            {'type': 'image_set', 'images': [RED, BLUE]},
            {'type': 'video', 'video': [BLUE, BLUE, RED]},
            {'type': 'image', 'image': BLUE},
        )
    )
    assert [len(medium.frames) for medium in turn.media] == [1, 2, 3, 1]
    assert turn.media[1].frames[1].getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize('key', ['image', 'url', 'path'])
def test_the_keys_of_hugging_face_and_openai_are_read(tmp_path, key):
    RED.save(tmp_path / 'a.png')
    (turn,) = read_messages(user({'type': 'image', key: str(tmp_path / 'a.png')}))
    assert turn.media[0].frames[0].getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ValueError, match=r'part 0.*nothing is fetched'):
        read_messages(user({'type': 'image_url', 'image_url': {'url': 'https://example.org/a.png'}}))


def test_a_long_video_is_thinned_and_a_set_never():
    parts = [{'type': 'video', 'video': [RED] * 9}, {'type': 'image_set', 'images': [RED] * 9}]
    (turn,) = read_messages(user(*parts), num_frames=4)
    assert [len(medium.frames) for medium in turn.media] == [4, 9]


def test_without_loading_media_are_empty_places():
    (turn,) = read_messages(user({'type': 'image'}, {'type': 'image', 'image': 'nowhere.png'}), load=False)
    assert turn.media == (Medium(()), Medium(()))


@pytest.mark.parametrize(
    ('message', 'told'),
    [
        ({'role': 'bot', 'content': 'x'}, 'message 1: expected a dict with a role among system, user, assistant'),
        ('x', 'message 1'),
        ({'role': 'user', 'content': 3}, "message 1: 'content'"),
        ({'role': 'user'}, "message 1: 'content'"),
        ({'role': 'user', 'content': [{'type': 'sound'}]}, 'message 1, part 0.*sound'),
        ({'role': 'user', 'content': [{'type': 'text', 'text': None}]}, "message 1, part 0: 'text'"),
        ({'role': 'user', 'content': [{'type': 'image'}]}, 'message 1, part 0: the image is missing'),
        ({'role': 'user', 'content': [{'type': 'image', 'image': 3}]}, 'message 1, part 0: .*int'),
        ({'role': 'user', 'content': [{'type': 'image_set', 'images': []}]}, 'message 1, part 0.*at least one'),
        ({'role': 'user', 'content': [{'type': 'video', 'video': []}]}, 'message 1, part 0.*empty'),
    ],
)
def test_a_faulty_message_is_named(message, told):
    with pytest.raises(ValueError, match=told):
        read_messages([{'role': 'user', 'content': 'fine'}, message])


def test_what_an_instruction_is_about_stands_apart():
    (turn,) = read_messages(user({'type': 'text', 'text': 'Which is larger?'}, {'type': 'input', 'text': '3 or 4'}))
    assert (turn.text, turn.input) == ('Which is larger?', '3 or 4')
    with pytest.raises(ValueError, match="message 0, part 0: 'text'"):
        read_messages(user({'type': 'input'}))


def test_a_missing_file_is_named_with_its_place():
    with pytest.raises(FileNotFoundError, match=r'message 0, part 0.*nowhere\.png'):
        read_messages(user({'type': 'image', 'image': 'nowhere.png'}))


def test_one_conversation_and_many_are_told_apart():
    one = [{'role': 'user', 'content': 'x'}]
    assert not is_batch(one)
    assert is_batch([one])
    for wrong in ([], 'x', None, [one, one[0]]):
        with pytest.raises(TypeError, match='conversation'):
            is_batch(wrong)
