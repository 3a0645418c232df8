"""A conversation that is kept goes on as it would have."""

import base64
import io
import json
from dataclasses import replace

import pytest

from mmgpt.inference.chat import Chat
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.session import load_session, save_session
from tests.hub import tiny

SETTINGS = GenerationSettings(max_new_tokens=6, stop=('zzz',))


def new(**changes):
    return Chat(*tiny.model_and_processor(), settings=replace(SETTINGS, **changes))


def test_it_goes_on_where_it_was_left(tmp_path):
    path = tmp_path / 'p.png'
    tiny.picture(3).save(path)
    file = io.BytesIO()
    tiny.picture(4).save(file, 'PNG')
    url = 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()
    chat = new()
    chat.system = 'Look.'
    chat.ask('What?', images=[tiny.picture(0), path, url], examples=[{'image': str(path), 'text': 'a', 'answer': 'b'}])
    chat.ask('And?', video=[tiny.picture(5), tiny.picture(6)])
    folder = save_session(chat, tmp_path / 'kept')
    expected = chat.ask('Why?').text
    path.unlink()  # the folder holds copies
    folder = folder.rename(tmp_path / 'moved')
    other = new(max_new_tokens=2)
    load_session(other, folder)
    assert other.settings == SETTINGS
    assert other.ask('Why?').text == expected
    assert [message['role'] for message in other.messages] == [message['role'] for message in chat.messages]


def test_nothing_is_overwritten_and_nothing_half_left(tmp_path):
    chat = new()
    chat.ask('What?', images=[tiny.picture(0)])
    save_session(chat, tmp_path / 'kept')
    with pytest.raises(FileExistsError, match='kept exists'):
        save_session(chat, tmp_path / 'kept')
    chat.history[0]['content'][0]['image'] = str(tmp_path / 'gone.png')
    with pytest.raises(OSError, match='gone'):
        save_session(chat, tmp_path / 'other')
    assert [path.name for path in tmp_path.iterdir()] == ['kept']


@pytest.mark.parametrize(
    ('change', 'told'),
    [({'version': 9}, 'version 9'), ({'turns': [{'role': 'user'}]}, 'turns'), ({'settings': {'top_p': 7}}, 'top_p')],
)
def test_a_damaged_one_is_told_and_changes_nothing(tmp_path, change, told):
    chat = new()
    chat.ask('What?')
    folder = save_session(chat, tmp_path / 'kept')
    data = json.loads((folder / 'session.json').read_text()) | change
    (folder / 'session.json').write_text(json.dumps(data))
    before = list(chat.history)
    with pytest.raises(ValueError, match=told):
        load_session(chat, folder)
    assert chat.history == before
    with pytest.raises(FileNotFoundError):
        load_session(chat, tmp_path / 'nowhere')
