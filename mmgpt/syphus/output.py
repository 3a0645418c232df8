"""Writes what was kept as MIMIC-IT's files, and what was not with its reasons, without holding either in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

from mmgpt.data.converters.instructions import Relate, related
from mmgpt.data.whole_file import whole_file
from mmgpt.syphus.stages.filter import KEPT
from mmgpt.syphus.state import State
from mmgpt.syphus.tasks import Task

Add = Callable[[str, Any], None]


@contextmanager
def _json_object(path: Path, begin: str = '{', end: str = '\n}\n') -> Iterator[Add]:
    """Gives a function that adds members to a file that holds one JSON object."""
    with whole_file(path) as partial, partial.open('w', encoding='utf-8') as file:
        separator = ''

        def add(key: str, value: Any) -> None:
            nonlocal separator
            file.write(f'{separator}\n{_json(key)}: {_json(value)}')
            separator = ','

        file.write(begin)
        yield add
        file.write(end)


def write_files(state: State, task: Task, folder: Path, languages: list[str], author: str) -> dict[str, int]:
    """Writes ``XX_instructions.json`` and ``XX_train.json``, of each language beyond English ``XX_zh_…``.

    Ids count the kept pairs in the order of the items: ``XX_INS_00000``, ``XX_zh_INS_00000``. The context of a pair
    are the others of its item, the earlier ones, or none, as the task says.

    Returns:
        the number of instructions of each file.
    """
    meta = {'version': '1', 'time': date.today().isoformat(), 'author': author}
    begin = f'{{"meta": {_json(meta)}, "data": {{'
    written: dict[str, int] = {}
    for part in task.parts:
        for language in ('', *languages):
            name = task.file_name(part) + (f'_{language}' if language else '')
            with (
                _json_object(folder / f'{name}_instructions.json', begin, '\n}}\n') as instructions,
                _json_object(folder / f'{name}_train.json') as train,
            ):
                written[name] = _write(_texts(state, part, language), task.relation(part), name, instructions, train)
    return written


def _texts(state: State, part: str, language: str) -> Iterator[tuple]:
    """The rows to write: pair, item, image ids, instruction, answer."""
    if not language:
        query = (
            'SELECT pairs.id, pairs.n, image_ids, instruction, answer FROM pairs JOIN items ON items.n = pairs.n '
            'WHERE verdict = ? AND part = ? AND pairs.id > ? ORDER BY pairs.id'
        )
        yield from state.rows(query, (KEPT, part))
    else:
        query = (
            'SELECT pairs.id, pairs.n, image_ids, t.instruction, t.answer FROM pairs JOIN items ON items.n = pairs.n '
            'JOIN translations t ON t.pair = pairs.id AND t.language = ? '
            'WHERE pairs.verdict = ? AND t.verdict = ? AND part = ? AND pairs.id > ? ORDER BY pairs.id'
        )
        yield from state.rows(query, (language, KEPT, KEPT, part))


def _write(rows: Iterator[tuple], relation: Relate, name: str, instructions: Add, train: Add) -> int:
    number = 0
    for _, group in groupby(rows, key=lambda row: row[1]):
        pairs = list(group)
        ids = [f'{name}_INS_{number + place:05d}' for place in range(len(pairs))]
        for place, (id, (_, _, images, instruction, answer)) in enumerate(zip(ids, pairs)):
            context = related(ids, place, relation)
            record = {'instruction': instruction, 'answer': answer, 'image_ids': json.loads(images)}
            instructions(id, record | {'rel_ins_ids': context})
            train(id, context)
        number += len(pairs)
    return number


def write_rejected(state: State, path: Path) -> None:
    """Writes a line for everything that did not become data: what could not be read, failed, or was dropped.

    A line is ``{"stage", "id", "part", "reason", "detail", ...}`` with the texts it is about; ``id`` is the item's.
    """
    with whole_file(path) as partial, partial.open('w', encoding='utf-8') as file:
        file.writelines(_json(line) + '\n' for line in _rejected(state))


def _rejected(state: State) -> Iterator[dict[str, Any]]:
    query = (
        'SELECT fragments.rowid, items.id, part, attempt, text, reason FROM fragments '
        'JOIN items ON items.n = fragments.n WHERE fragments.rowid > ? ORDER BY fragments.rowid'
    )
    for _, id, part, attempt, text, reason in state.rows(query):
        yield {'stage': 'parse', 'id': id, 'part': part, 'attempt': attempt, 'reason': reason, 'reply': text}
    query = (
        "SELECT asks.n, items.id, part, reason FROM asks JOIN items ON items.n = asks.n WHERE outcome = 'failed' AND "
        'asks.n > ? ORDER BY asks.n'
    )
    for _, id, part, reason in _all_parts(state, query):
        yield {'stage': 'generate', 'id': id, 'part': part, 'reason': 'failed', 'detail': reason}
    for row in state.pairs(f"verdict <> '{KEPT}'"):
        texts = {'instruction': row.instruction, 'answer': row.answer}
        yield {
            'stage': 'filter',
            'id': row.item.id,
            'part': row.part,
            'reason': row.verdict,
            'detail': row.detail,
        } | texts
    query = (
        'SELECT t.pair, items.id, part, language, t.instruction, t.answer, t.verdict, t.detail FROM translations t '
        'JOIN pairs ON pairs.id = t.pair JOIN items ON items.n = pairs.n WHERE t.verdict <> ? '
        'AND pairs.verdict = ? AND t.language = ? AND t.pair > ? ORDER BY t.pair'
    )
    for (language,) in state.base.execute('SELECT DISTINCT language FROM translations ORDER BY 1').fetchall():
        for _, id, part, _, instruction, answer, verdict, detail in state.rows(query, (KEPT, KEPT, language)):
            texts = {'instruction': instruction, 'answer': answer}
            yield {'stage': 'translate', 'id': id, 'part': part, 'language': language, 'reason': verdict} | {
                'detail': detail,
                **texts,
            }


def _all_parts(state: State, query: str) -> Iterator[tuple]:
    """Rows of a query for one part after the other: a page may end within an item's parts otherwise."""
    for (part,) in state.base.execute('SELECT DISTINCT part FROM asks ORDER BY 1').fetchall():
        yield from state.rows(query.replace("outcome = 'failed'", "outcome = 'failed' AND part = ?"), (part,))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
