"""Lettered options: out of records and instructions, in a question, and the one that a reply means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mmgpt.evaluation.tasks.records import Record

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
ARTICLE = r'A +(?!(?:is|or|and|because)\b)\w'  # where 'A' begins a noun phrase and names no option


def split_options(text: str) -> tuple[str, list[str]]:
    """The question and the options of an instruction that ends with ``A. …, B. …``.

    Example:
        >>> split_options('How many cups are there? A. one, B. two or more.')
        ('How many cups are there?', ['one', 'two or more'])
    """
    starts = []
    for letter in LETTERS:
        at = re.compile(rf'(?<![A-Za-z])(?<![A-Z]\.){letter}[.)]\s').search(text, starts[-1] + 1 if starts else 0)
        if at is None:
            break
        starts.append(at.start())
    if not starts:
        return text.strip(), []
    ends = [*starts[1:], len(text)]
    return text[: starts[0]].strip(), [text[a + 2 : b].strip(' ,;.\n') for a, b in zip(starts, ends)]


def letter_in(reply: str, options: Sequence[str]) -> str | None:
    """The option that a reply means: the only letter that stands in it by itself; without any, the only option text.

    Example:
        >>> letter_in('(B) two dogs', ['a cat', 'two dogs']), letter_in('two dogs', ['a cat', 'two dogs'])
        ('B', 'B')
    """
    letters = LETTERS[: len(options)]
    reply = reply.strip()
    if reply.rstrip('.):').lstrip('(').upper() in tuple(letters):
        return reply.rstrip('.):').lstrip('(').upper()
    found = set(re.findall(rf'(?<![\w\'])(?!{ARTICLE})([{letters}])(?![\w\'])', reply))
    if found:
        return found.pop() if len(found) == 1 else None
    by_text = [letter for letter, option in zip(letters, options) if option and option.lower() in reply.lower()]
    return by_text[0] if len(by_text) == 1 else None


def options_of(record: Record) -> list[str]:
    """The options of a record that has them as ``A`` to ``E``.

    Raises:
        ValueError: there are fewer than two.
    """
    options = [str(record.value[letter]) for letter in 'ABCDE' if not _empty(record.value.get(letter))]
    if len(options) < 2:
        raise ValueError(f"{record.where}: a question needs at least the options 'A' and 'B', got {options}")
    return options


def hinted(record: Record, options: Sequence[str]) -> str:
    """MMBench's question: the hint, what is asked, the lettered options."""
    hint = f'{record.value["hint"]} ' if _given(record.value.get('hint')) else ''
    lines = ''.join(f'\n{letter}. {text}' for letter, text in zip(LETTERS, options))
    return f'{hint}{record.text("question")} There are several options:{lines}'


def answer_letter(record: Record, options: Sequence[str]) -> str | None:
    """The letter of the right option; None where it is not published.

    Raises:
        ValueError: there is no such option.
    """
    answer = record.get('answer')
    if not _given(answer):
        return None
    if answer not in tuple(LETTERS[: len(options)]):
        raise ValueError(f"{record.where}: 'answer' should be one of {LETTERS[: len(options)]}, got {answer!r}")
    return answer


def _given(value: Any) -> bool:
    """Whether a cell holds something that is not the word 'None'."""
    return not _empty(value) and str(value).strip() != 'None'


def _empty(value: Any) -> bool:
    """Whether a cell holds nothing: empty ones of a table may be 'nan'."""
    return value is None or str(value).strip() in ('', 'nan', 'NaN')
