"""Questions and answers become MIMIC-IT's instruction files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Literal, NamedTuple

from mmgpt.data.whole_file import whole_file

Relate = Literal['others', 'earlier', 'none']


class Question(NamedTuple):
    """One instruction, its answer, and the ids of the pictures that it is about."""

    instruction: str
    answer: str
    image_ids: Sequence[str]


class Group(NamedTuple):
    """Questions that belong together: each is an in-context example of the others.

    Args:
        id: of what they are about, such as a video or an album.
        questions: in their order.
        relate: the context of a question: the 'others' of the group, the 'earlier' ones (the rounds of a dialogue), or
            'none'.
        annotation: what people wrote about the pictures, from which instructions can be generated; '' = the answers.
    """

    id: str
    questions: Sequence[Question]
    relate: Relate = 'others'
    annotation: str = ''


def write_instructions(path: str | Path, groups: Iterable[Group], prefix: str, width: int, author: str) -> int:
    """Writes ``XX_instructions.json``, and ``XX_annotations.jsonl``, from which ``syphus.py`` generates more.

    The files are written beside their places and renamed.

    Args:
        path: of the instructions.
        groups: read once.
        prefix: of the ids, such as ``SD``: the first one is ``SD_INS_00000``.
        width: digits of the ids' number.
        author: of the texts, for the file's ``meta``.

    Returns:
        The number of instructions.
    """
    path = Path(path)
    notes = path.with_name(path.name.replace('_instructions.json', '_annotations.jsonl'))
    meta = {'version': '1', 'time': date.today().isoformat(), 'author': author}
    number = 0
    with (
        whole_file(notes) as partial_notes,
        whole_file(path) as partial,
        partial.open('w', encoding='utf-8') as file,
        partial_notes.open('w', encoding='utf-8') as lines,
    ):
        file.write(f'{{"meta": {_json(meta)}, "data": {{')
        for group in groups:
            ids = [f'{prefix}_INS_{number + place:0{width}d}' for place in range(len(group.questions))]
            for place, (id, question) in enumerate(zip(ids, group.questions, strict=True)):
                record = {
                    'instruction': question.instruction,
                    'answer': question.answer,
                    'image_ids': list(question.image_ids),
                    'rel_ins_ids': related(ids, place, group.relate),
                }
                file.write(f'{"," if number + place else ""}\n{_json(id)}: {_json(record)}')
            number += len(ids)
            images = dict.fromkeys(id for question in group.questions for id in question.image_ids)
            annotation = group.annotation or '\n'.join(question.answer for question in group.questions)
            lines.write(_json({'id': group.id, 'image_ids': list(images), 'annotation': annotation}) + '\n')
        file.write('\n}}\n')
    return number


def related(ids: list[str], place: int, relate: Relate) -> list[str]:
    """The ids of a group that one of them has as context: none, the earlier ones, or all others."""
    if relate == 'none':
        return []
    return ids[:place] if relate == 'earlier' else ids[:place] + ids[place + 1 :]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
