"""What people think of answers, kept as lines of JSON."""

from __future__ import annotations

import binascii
import json
import re
import threading
import time
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

_DATA_URL = re.compile(r'data:(?P<type>[\w.+/-]+)[^,]*;base64,(?P<data>.*)', re.DOTALL)
_SUFFIXES = {
    'image/png': '.png',
    'image/jpeg': '.jpg',
    'image/webp': '.webp',
    'image/gif': '.gif',
    'video/mp4': '.mp4',
    'video/webm': '.webm',
}


class Log:
    """A folder with ``feedback.jsonl``, ``battles.jsonl``, and ``media/``: what the conversations showed, each once.

    May be written to from several threads.

    Args:
        folder: made where it is missing.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def feedback(self, record: dict[str, Any]) -> None:
        """Keeps a vote or a flag; pictures in it become files, named by their SHA-256."""
        self._append('feedback.jsonl', {'tstamp': time.time(), **self._with_files(record)})

    def battle(self, model_a: str, model_b: str, winner: str) -> None:
        """Keeps a vote between two models, ``winner`` being model_a, model_b, tie or tie (bothbad)."""
        record = {'model_a': model_a, 'model_b': model_b, 'winner': winner, 'tstamp': time.time()}
        self._append('battles.jsonl', record)

    def _append(self, name: str, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False) + '\n'
        with self._lock, open(self.folder / name, 'a', encoding='utf-8') as file:
            file.write(line)

    def _with_files(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._with_files(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._with_files(inner) for inner in value]
        match = _DATA_URL.fullmatch(value) if isinstance(value, str) and value.startswith('data:') else None
        return value if match is None else self._file(match['type'], match['data'])

    def _file(self, kind: str, data: str) -> str:
        try:
            content = b64decode(data, validate=True)
        except binascii.Error:
            return 'unreadable'
        path = self.folder / 'media' / (sha256(content).hexdigest() + _SUFFIXES.get(kind, '.bin'))
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return f'media/{path.name}'
