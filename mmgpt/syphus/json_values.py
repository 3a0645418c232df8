"""Finds JSON in a reply, whole or broken: objects between remarks, cut lists, Python's quotes, commas too many."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_DECODER = json.JSONDecoder(strict=False)  # line breaks within texts are let through


def looks_like_json(text: str) -> bool:
    """Whether there is an object or list that could hold pairs."""
    return bool(re.search(r'[\[{]\s*([\[{"\'“]|\w+\s*:)', text))


def json_values(text: str) -> tuple[list[Any], list[str], list[str]]:
    """The values in a text.

    Returns:
        the values; the lines around them; pieces that begin like JSON and cannot be read.

    Example:
        >>> json_values('Here: [{"q": 1}, {"q": 2}, {"q":')
        ([{'q': 1}, {'q': 2}], ['Here: '], ['{"q":'])
    """
    values: list[Any] = []
    rest: list[str] = []
    broken: list[str] = []
    place = 0
    while place < len(text):
        start = re.compile(r'[\[{]').search(text, place)
        if not start:
            rest.append(text[place:])
            break
        rest.append(text[place : start.start()])
        value, end = _read(text, start.start())
        if end is not None:
            values.append(value)
            place = end
            continue
        inner, pieces = _salvage(text[start.start() :])
        values += inner
        broken += pieces
        break
    remarks = [line for part in rest for line in part.split('\n') if line.strip(' ,;\t')]
    return values, remarks, broken


def _read(text: str, start: int) -> tuple[Any, int | None]:
    """The value that begins there and its end; None for the end where it cannot be read."""
    try:
        value, end = _DECODER.raw_decode(text, start)
        return value, end
    except (ValueError, RecursionError):
        pass
    end = _matching(text, start)
    if end is None:
        return None, None
    piece = text[start:end]
    for mend in (_mended, lambda t: _mended(_straight(t))):
        try:
            return json.loads(mend(piece), strict=False), end
        except (ValueError, RecursionError):
            continue
    try:
        return ast.literal_eval(_commas(piece)), end
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None, None


def _matching(text: str, start: int) -> int | None:
    """The place after the bracket that closes the one at ``start``, quoted text left aside."""
    closing, quote, place = [], '', start
    while place < len(text):
        character = text[place]
        if quote:
            if character == '\\':
                place += 1
            elif character == quote:
                quote = ''
        elif character == '"' or (character == "'" and not text[place - 1].isalnum()):
            quote = character
        elif character in '[{':
            closing.append({'[': ']', '{': '}'}[character])
        elif character in ']}':
            if not closing or closing.pop() != character:
                return None
            if not closing:
                return place + 1
        place += 1
    return None


def _commas(text: str) -> str:
    text = re.sub(r',(\s*[\]}])', r'\1', text)  # one too many
    return re.sub(r'([}\]"])(\s*\n\s*)(["{])', r'\1,\2\3', re.sub(r'\}(\s*)\{', r'},\1{', text))  # one too few


def _mended(text: str) -> str:
    pieces = re.split(r'("(?:\\.|[^"\\])*")', _commas(re.sub(r'(?m)^\s*//.*$', '', text)), flags=re.DOTALL)
    pieces[::2] = [_outside(piece) for piece in pieces[::2]]
    return ''.join(pieces)


def _outside(text: str) -> str:
    """Names and constants outside of quotes as JSON has them."""
    text = re.sub(r'([{,]\s*)([A-Za-z_]\w*)(\s*:)', r'\1"\2"\3', text)
    for word, instead in (('None', 'null'), ('True', 'true'), ('False', 'false')):
        text = re.sub(rf'\b{word}\b', instead, text)
    return text


def _straight(text: str) -> str:
    return text.replace('“', '"').replace('”', '"')


def _salvage(text: str) -> tuple[list[Any], list[str]]:
    """The whole objects of a list or object that is not whole, and what is left of it."""
    values: list[Any] = []
    broken: list[str] = []
    place = 1
    while (found := text.find('{', place)) != -1:
        value, end = _read(text, found)
        if end is None:
            following = text.find('{', found + 1)
            piece = text[found:] if following == -1 else text[found:following]
            broken.append(piece.strip())
            place = found + 1
        else:
            values.append(value)
            place = end
    if not values and not broken:
        broken.append(text.strip())
    return values, broken
