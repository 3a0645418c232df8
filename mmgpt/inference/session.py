"""A conversation on disk: a folder with ``session.json`` and the pictures and videos that it names."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from PIL import Image

from mmgpt.data.image_stores import decode_base64
from mmgpt.hub.pictures import local_path, open_picture
from mmgpt.inference.chat import Chat
from mmgpt.inference.examples import beside
from mmgpt.inference.generation import GenerationSettings

FILE, VERSION = 'session.json', 1
_MEDIA = {'image', 'images', 'video', 'path', 'url', 'image_url'}


def save_session(chat: Chat, folder: str | Path) -> Path:
    """Writes a conversation: system text, examples, turns, settings, and copies of all pictures and videos.

    It is written beside and renamed, so the folder is either whole or not there.

    Args:
        chat: the conversation.
        folder: must not exist.

    Raises:
        FileExistsError: there is something of that name.
        OSError: a picture or video is no longer there.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise FileExistsError(f'{folder} exists already; choose another name')
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside_it = folder.with_name(f'.{folder.name}.incomplete')
    shutil.rmtree(beside_it, ignore_errors=True)
    beside_it.mkdir()
    try:
        files = _Files(beside_it)
        data = {
            'version': VERSION,
            'system': chat.system,
            'examples': files.kept(chat.examples),
            'turns': files.kept(chat.history),
            'settings': asdict(chat.settings),
        }
        (beside_it / FILE).write_text(json.dumps(data, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')
        beside_it.replace(folder)
    except BaseException:
        shutil.rmtree(beside_it, ignore_errors=True)
        raise
    return folder


def load_session(chat: Chat, folder: str | Path) -> None:
    """Replaces the conversation of a chat by one that was saved.

    Raises:
        OSError: there is no such session.
        ValueError: it is damaged. The chat is as before.
    """
    folder = Path(folder).expanduser()
    path = folder / FILE if folder.is_dir() else folder
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
        if data['version'] != VERSION:
            raise ValueError(f'it is of version {data["version"]}, this mmgpt reads {VERSION}')
        known = {field.name for field in fields(GenerationSettings)}
        settings = {key: value for key, value in data['settings'].items() if key in known}
        settings = GenerationSettings(**{**settings, 'stop': tuple(settings.get('stop', ()))})
        examples, turns = beside(data['examples'], path.parent), beside(data['turns'], path.parent)
        roles = [turn['role'] for turn in turns]
        if roles != ['user', 'assistant'] * (len(turns) // 2):
            raise ValueError(f'expected turns of user and assistant, got {roles}')
        system = data['system']
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f'{path} is no session: {error}') from error
    chat.clear()
    chat.system, chat.examples, chat.history, chat.settings = system, examples, turns, settings


class _Files:
    """Copies the media of messages into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def kept(self, value: Any, key: str = '') -> Any:
        """The same messages with names of files in the folder."""
        if isinstance(value, dict):
            return {k: self.kept(v, k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.kept(item, key) for item in value]
        if key in _MEDIA and value is not None:
            return self._copied(value)
        return value

    def _copied(self, value: Any) -> str:
        self.count += 1
        is_file = not isinstance(value, bytes | Image.Image) and not str(value).startswith('data:')
        if is_file and local_path(value).is_file():  # as it is, whatever it holds
            source = local_path(value)
            name = f'{self.count:03}{source.suffix}'
            shutil.copyfile(source, self.folder / name)
        elif str(value).startswith('data:video/'):
            kind, _, data = value.removeprefix('data:video/').partition(';base64,')
            name = f'{self.count:03}.{"".join(filter(str.isalnum, kind)) or "mp4"}'
            (self.folder / name).write_bytes(decode_base64(data, 'the data URL'))
        else:
            name = f'{self.count:03}.png'
            open_picture(value).save(self.folder / name)
        return name
