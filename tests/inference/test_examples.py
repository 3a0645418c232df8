import json

import pytest

from mmgpt.inference.examples import read_examples


def write(folder, records):
    path = folder / 'examples.json'
    path.write_text(records if isinstance(records, str) else json.dumps(records))
    return path


def test_short_examples_become_messages_with_paths_beside_the_file(tmp_path):
    path = write(tmp_path, [{'image': 'a.png', 'text': 'What?', 'answer': 'A dog'}, {'text': 'Why?', 'answer': 'So.'}])
    picture = {'type': 'image', 'image': str(tmp_path / 'a.png')}
    assert read_examples(path) == [
        {'role': 'user', 'content': [picture, {'type': 'text', 'text': 'What?'}]},
        {'role': 'assistant', 'content': 'A dog'},
        {'role': 'user', 'content': [{'type': 'text', 'text': 'Why?'}]},
        {'role': 'assistant', 'content': 'So.'},
    ]


def test_images_and_video_of_short_examples(tmp_path):
    path = write(tmp_path, [{'images': ['a.png', '/b.png'], 'video': 'v.mp4', 'text': 'What?', 'answer': 'A dog'}])
    parts = read_examples(path)[0]['content']
    assert [part.get('image') or part.get('video') for part in parts[:3]] == [
        str(tmp_path / 'a.png'),
        '/b.png',
        str(tmp_path / 'v.mp4'),
    ]


def test_messages_are_taken_as_they_are_but_for_their_paths(tmp_path):
    data_url = 'data:image/png;base64,AAAA'
    messages = [
        {
            'role': 'user',
            'content': [{'type': 'image_set', 'images': ['a.png', data_url]}, {'type': 'text', 'text': 'a'}],
        },
        {'role': 'assistant', 'content': 'b'},
    ]
    read = read_examples(write(tmp_path, messages))
    assert read[0]['content'][0]['images'] == [str(tmp_path / 'a.png'), data_url]
    assert read[0]['content'][1] == messages[0]['content'][1]
    assert read[1] == messages[1]


@pytest.mark.parametrize('value', ['a.png', {'url': 'a.png'}])
def test_pictures_of_openais_form_lie_beside_the_file_too(tmp_path, value):
    part = {'type': 'image_url', 'image_url': value}
    read = read_examples(write(tmp_path, [{'role': 'user', 'content': [part]}]))[0]['content'][0]['image_url']
    assert (read if isinstance(value, str) else read['url']) == str(tmp_path / 'a.png')


@pytest.mark.parametrize(
    ('records', 'message'),
    [('{', 'not JSON'), ({'a': 1}, 'expected a list'), ([{'text': 'x', 'answer': 'y'}, {'text': 'x'}], 'record 1')],
)
def test_a_faulty_file_is_told(tmp_path, records, message):
    with pytest.raises(ValueError, match=rf'examples\.json.*{message}'):
        read_examples(write(tmp_path, records))
