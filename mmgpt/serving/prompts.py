"""A client's messages become a prompt. Nothing is fetched: pictures and videos come as ``data:`` URLs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image

from mmgpt.hub.pictures import open_picture, video_frames
from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.prefixes import Prompt
from mmgpt.serving.errors import ApiError
from mmgpt.serving.schema import ImagePart, Message, TextPart, VideoPart
from mmgpt.serving.settings import ServerSettings


def read_prompt(engine: BatchEngine, messages: Sequence[Message], settings: ServerSettings) -> Prompt:
    """The prompt of a request.

    Args:
        engine: has the processor.
        messages: as the client sent them.
        settings: the limits.

    Raises:
        ApiError: 400, as of ``plain_messages``, or the messages are no conversation.
    """
    plain = plain_messages(engine.processor, messages, settings)
    with conversation_checked():
        return engine.prompt(plain)


@contextmanager
def conversation_checked() -> Iterator[None]:
    """Tells the client of messages that are no conversation of the model's form: a ValueError becomes an ApiError."""
    try:
        yield
    except ValueError as error:
        raise ApiError(400, f'messages: {error}', 'invalid_messages', 'messages') from error


def plain_messages(processor: Any, messages: Sequence[Message], settings: ServerSettings) -> list[dict[str, Any]]:
    """A client's messages as ``mmgpt.hub.messages`` reads them, with their pictures opened and at their final size.

    Raises:
        ApiError: 400, there are too many pictures and videos, or one cannot be read or is no data URL.
    """
    media = sum(not isinstance(part, TextPart) for message in messages for part in _parts(message))
    if media > settings.max_media:
        raise ApiError(400, f'messages: {media} pictures and videos, at most {settings.max_media}', 'too_many_media')
    return [_plain(processor, message, i, settings) for i, message in enumerate(messages)]


def _plain(processor: Any, message: Message, place: int, settings: ServerSettings) -> dict[str, Any]:
    """One of them."""
    if isinstance(message.content, str):
        return {'role': _role(message), 'content': message.content}
    content = []
    for i, part in enumerate(message.content):
        where = f'messages.{place}.content.{i}'
        if isinstance(part, TextPart):
            content.append({'type': 'text', 'text': part.text})
            continue
        try:
            if isinstance(part, ImagePart):
                content.append({'type': 'image', 'image': _picture(processor, part, settings)})
            else:
                frames = [_shrunk(processor, frame) for frame in _frames(processor, part, settings)]
                content.append({'type': 'video', 'video': frames})
        except (ValueError, OSError, ImportError) as error:
            raise ApiError(400, f'{where}: {error}', 'invalid_media', where) from error
    return {'role': _role(message), 'content': content}


def without_media(message: Message) -> dict[str, Any]:
    """A message as ``mmgpt.hub.messages`` reads it where no picture is opened."""
    if isinstance(message.content, str):
        return {'role': _role(message), 'content': message.content}
    kinds = {'image_url': 'image', 'video_url': 'video'}
    parts = [
        {'type': 'text', 'text': part.text} if part.type == 'text' else {'type': kinds[part.type]}
        for part in message.content
    ]
    return {'role': _role(message), 'content': parts}


def _role(message: Message) -> str:
    return 'system' if message.role == 'developer' else message.role


def _parts(message: Message) -> Sequence[Any]:
    return () if isinstance(message.content, str) else message.content


def _picture(processor: Any, part: ImagePart, settings: ServerSettings) -> Image.Image:
    url = _data_url(part.image_url.url, 'image')
    return _shrunk(processor, open_picture(url, settings.max_pixels))


def _frames(processor: Any, part: VideoPart, settings: ServerSettings) -> Iterator[Image.Image]:
    url = _data_url(part.video_url.url, 'video')
    return video_frames(url, processor.num_frames, settings.max_pixels)


def _data_url(url: str, kind: str) -> str:
    if not url.startswith(f'data:{kind}/'):
        raise ValueError(
            f'expected a URL of the form data:{kind}/...;base64,..., got {url[:40]!r}: '
            'this server opens no addresses and no files'
        )
    return url


def _shrunk(processor: Any, picture: Image.Image) -> Image.Image:
    """The picture as the model will see it: only one is held at its full size at a time."""
    frame: torch.Tensor = processor.prompter.frame(picture)
    return Image.fromarray(frame.permute(1, 2, 0).numpy())
