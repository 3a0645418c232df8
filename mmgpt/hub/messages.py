"""Chat messages as Hugging Face and OpenAI write them, read into turns.

A message is ``{'role': 'system' | 'user' | 'assistant', 'content': ...}``; its content is a string or a list of parts::

    {'type': 'text', 'text': 'What is this?'}
    {'type': 'input', 'text': 'a passage'}                         what an instruction is about (MultiModal-GPT's Input)
    {'type': 'image', 'image': PIL image | path | data URL}        one <image> mark (the key may be url, path, base64)
    {'type': 'image_url', 'image_url': {'url': data URL}}          the same, as OpenAI clients send it
    {'type': 'video', 'video': [picture, ...] | path}              its frames under one <image> mark
    {'type': 'image_set', 'images': [picture, ...]}                several pictures under one <image> mark

Nothing is fetched over the network: an http address is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmgpt.hub.pictures import open_picture, open_video
from mmgpt.structures import Medium, Turn

ROLES = ('system', 'user', 'assistant')
_PICTURE_KEYS = ('image', 'url', 'path', 'base64', 'image_url')
_VIDEO_KEYS = ('video', 'url', 'path')
_PARTS = ('text', 'input', 'image', 'image_url', 'video', 'image_set')

Message = Mapping[str, Any]
Conversation = Sequence[Message]


def is_batch(conversations: Any) -> bool:
    """True for a list of conversations, False for one conversation (a list of messages).

    Raises:
        TypeError: for anything else, an empty list included.
    """
    if isinstance(conversations, Sequence) and not isinstance(conversations, str) and len(conversations):
        if all(isinstance(item, Mapping) for item in conversations):
            return False
        if all(isinstance(item, Sequence) and not isinstance(item, str) for item in conversations):
            return True
        if all(hasattr(item, 'messages') for item in conversations):  # transformers' Chat, of its pipelines
            return True
    if hasattr(conversations, 'messages'):
        return False
    raise TypeError(f'expected a list of messages, or a list of such conversations, got {conversations!r:.200}')


def read_messages(conversation: Conversation, num_frames: int | None = None, load: bool = True) -> list[Turn]:
    """Reads a conversation.

    Args:
        conversation: messages, oldest first.
        num_frames: of a longer video that many frames are kept, evenly spaced; None keeps all.
        load: False opens no picture: every medium is an empty place, which is enough to write the prompt's text.

    Returns:
        One turn per message; the pictures of a turn come before its text.

    Raises:
        ValueError: where a message is not as the module says; the text names the message and the part.
        OSError: where a picture or video cannot be read.

    Example:
        >>> read_messages([{'role': 'user', 'content': 'Hello'}])
        [Turn(role='user', text='Hello', media=(), input='')]
    """
    messages = getattr(conversation, 'messages', conversation)
    return [_read_message(message, f'message {i}', num_frames, load) for i, message in enumerate(messages)]


def _read_message(message: Message, where: str, num_frames: int | None, load: bool) -> Turn:
    role = message.get('role') if isinstance(message, Mapping) else None
    if role not in ROLES:
        raise ValueError(f'{where}: expected a dict with a role among {", ".join(ROLES)}, got {message!r:.200}')
    content = message.get('content')
    if isinstance(content, str):
        return Turn(role, content)
    if not isinstance(content, Sequence):
        raise ValueError(f"{where}: 'content' must be a string or a list of parts, got {content!r:.200}")
    texts, inputs, media = [], [], []
    for i, part in enumerate(content):
        place = f'{where}, part {i}'
        kind = part.get('type') if isinstance(part, Mapping) else None
        if kind not in _PARTS:
            raise ValueError(f'{place}: expected a dict with a type among {", ".join(_PARTS)}, got {part!r:.200}')
        if kind == 'text':
            texts.append(_text(part, place))
        elif kind == 'input':
            inputs.append(_text(part, place))
        else:
            try:
                media.append(_medium(kind, part, num_frames, load))
            except (TypeError, ValueError) as error:
                raise ValueError(f'{place}: {error}') from error
            except OSError as error:
                raise type(error)(f'{place}: {error}') from error
    return Turn(role, '\n'.join(texts), tuple(media), '\n'.join(inputs))


def _text(part: Message, place: str) -> str:
    if not isinstance(part.get('text'), str):
        raise ValueError(f"{place}: 'text' must be a string, got {part.get('text')!r:.200}")
    return part['text']


def _medium(kind: str, part: Message, num_frames: int | None, load: bool) -> Medium:
    if not load:
        return Medium(())
    if kind == 'image_set':
        pictures = part.get('images')
        if not isinstance(pictures, Sequence) or isinstance(pictures, str) or not pictures:
            raise ValueError(f"'images' must be a list of at least one picture, got {pictures!r:.200}")
        return Medium(tuple(open_picture(picture) for picture in pictures))
    value = _first(part, _VIDEO_KEYS if kind == 'video' else _PICTURE_KEYS, kind)
    if kind == 'video':
        return Medium(open_video(value, num_frames))
    if isinstance(value, Mapping):  # OpenAI: {'image_url': {'url': ...}}
        value = value.get('url')
    return Medium((open_picture(value),))


def _first(part: Message, keys: Sequence[str], kind: str) -> Any:
    for key in keys:
        if part.get(key) is not None:
            return part[key]
    raise ValueError(f'the {kind} is missing: none of the keys {", ".join(keys)} in {part!r:.200}')
