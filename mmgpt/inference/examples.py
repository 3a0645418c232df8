"""In-context examples and questions as messages, and out of JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def question(text: str, images: Iterable[Any] = (), video: Any = None) -> dict:
    """The message of a question.

    Args:
        text: the question.
        images: each is one medium.
        video: frames, or a file.
    """
    content = [{'type': 'image', 'image': image} for image in images]
    if video is not None:
        content.append({'type': 'video', 'video': video})
    return {'role': 'user', 'content': [*content, {'type': 'text', 'text': text}]}


def as_messages(records: Sequence[dict]) -> list[dict]:
    """Messages of in-context examples.

    Args:
        records: messages, which stay as they are, or short records ``{'image': picture, 'text': question, 'answer':
            answer}`` with ``image``, ``images`` (each picture a medium), ``video`` or none of them.

    Raises:
        ValueError: a record is of neither form.

    Example:
        >>> as_messages([{'text': 'Why?', 'answer': 'So.'}])[1]
        {'role': 'assistant', 'content': 'So.'}
    """
    messages = []
    for i, record in enumerate(records):
        if isinstance(record, dict) and 'role' in record:
            messages.append(record)
        elif isinstance(record, dict) and isinstance(record.get('text'), str) and isinstance(record.get('answer'), str):
            messages += [short_question(record), {'role': 'assistant', 'content': record['answer']}]
        else:
            raise ValueError(
                f"record {i} is neither a message with a 'role' nor an example with 'text' and 'answer': "
                f'{record!r:.200}'
            )
    return messages


def short_question(record: dict) -> dict:
    """The message of a short record."""
    return question(record['text'], pictures_of(record), record.get('video'))


def pictures_of(record: dict) -> Sequence[Any]:
    """The pictures of a short record."""
    return record.get('images') or ([record['image']] if record.get('image') is not None else [])


def read_examples(path: str | Path) -> list[dict]:
    """Reads in-context examples from a JSON file that holds a list of what ``as_messages`` takes.

    Paths are relative to the file.

    Raises:
        OSError: there is no such file.
        ValueError: it is no JSON, or a record is of neither form.
    """
    path = Path(path).expanduser()
    try:
        records = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(records, list):
        raise ValueError(f'{path}: expected a list of messages or of examples, got {type(records).__name__}')
    try:
        return [beside(message, path.parent) for message in as_messages(records)]
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def beside(value: Any, folder: Path, key: str = '') -> Any:
    """Makes the relative paths of pictures and videos in a message relative to ``folder``."""
    if isinstance(value, dict):
        return {k: beside(v, folder, k) for k, v in value.items()}
    if isinstance(value, list):
        return [beside(item, folder, key) for item in value]
    keys = {'image', 'image_url', 'images', 'video', 'path', 'url'}
    is_file = key in keys and isinstance(value, str) and ':' not in value[:8]
    return str(folder / value) if is_file else value
