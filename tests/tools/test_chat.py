import json

import pytest

from mmgpt.hub.io import save_folder
from mmgpt.inference.chat import Chat, Reply
from tests.hub import tiny
from tools import chat


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with a model, two pictures and an examples file."""
    place = tmp_path_factory.mktemp('place')
    save_folder(place / 'model', *tiny.model_and_processor())
    for i in range(2):
        tiny.picture(i).save(place / f'{i}.png')
    (place / 'examples.json').write_text(json.dumps([{'image': '1.png', 'text': 'What?', 'answer': 'A dog.'}]))
    return place


def run(capsys, *argv):
    code = chat.main([*map(str, argv), '--device', 'cpu', '--max-new-tokens', '5'])
    return code, capsys.readouterr()


def test_one_question_for_scripts(place, capsys):
    code, shown = run(capsys, place / 'model', '--image', place / '0.png', '--text', 'What is it?', '--json')
    assert code == 0
    reply = json.loads(shown.out)
    assert reply.keys() == {'text', 'tokens', 'seconds'}
    expected = Chat(*tiny.model_and_processor()).ask('What is it?', images=[tiny.picture(0)]).text
    assert expected.startswith(reply['text'])
    assert 1 <= reply['tokens'] <= 5
    code, shown = run(capsys, place / 'model', '--image', place / '0.png', '--text', 'What is it?')
    assert (code, shown.out) == (0, reply['text'] + '\n')


def test_examples_and_several_images(place, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr(
        Chat, '_generate', lambda self, messages, on_text: seen.append(messages) or Reply('Yes', 1, 0.1)
    )
    pictures = ['--image', place / '0.png', '--image', place / '1.png']
    code, shown = run(
        capsys, place / 'model', '--examples', place / 'examples.json', '--text', 'Q?', '--system', 'Look.', *pictures
    )
    assert (code, shown.out) == (0, 'Yes\n')
    (messages,) = seen
    assert [message['role'] for message in messages] == ['system', 'user', 'assistant', 'user']
    assert messages[1]['content'][0] == {'type': 'image', 'image': str(place / '1.png')}
    assert [part['type'] for part in messages[-1]['content']] == ['image', 'image', 'text']


def test_without_a_question_the_terminal_opens(place, capsys, monkeypatch):
    lines = iter(['What is it?', '/quit'])
    monkeypatch.setattr('builtins.input', lambda prompt: next(lines))
    code, shown = run(capsys, place / 'model', '--image', place / '0.png')
    assert code == 0
    assert 'tokens/s' in shown.out


@pytest.mark.parametrize(
    ('argv', 'told'),
    [
        (['nowhere', '--text', 'x'], 'there is no model folder nowhere'),
        (['{model}', '--text', 'x', '--image', 'nowhere.png'], 'nowhere.png'),
        (['{model}', '--text', 'x', '--examples', 'nowhere.json'], 'nowhere.json'),
        (['{model}', '--text', 'x', '--beams', '2', '--temperature', '1'], 'temperature must be 0'),
        (['{model}', '--text', 'x', '--import', 'no_such_plugin'], "no module 'no_such_plugin'"),
    ],
)
def test_bad_input_is_one_message_and_code_2(place, capsys, argv, told):
    code, shown = run(capsys, *(arg.format(model=place / 'model') for arg in argv))
    assert code == 2
    assert shown.out == ''
    assert told in shown.err
    assert len(shown.err.strip().splitlines()) == 1


def test_json_without_a_question_is_bad_usage(capsys):
    with pytest.raises(SystemExit) as exit_:
        chat.main(['model', '--json'])
    assert exit_.value.code == 2
    assert '--text' in capsys.readouterr().err
