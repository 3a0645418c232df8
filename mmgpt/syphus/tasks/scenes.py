"""Rooms, and what differs between two pictures."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from mmgpt.registry import SYPHUS_TASKS
from mmgpt.syphus.items import Item
from mmgpt.syphus.tasks.base import Task, sentences

PEOPLE = (
    'a parent cooking for two children',
    'a student before an exam',
    'somebody who works from home',
    'a guest who stays for one night',
    'an old person who walks with a stick',
    'somebody who wants to do sports indoors',
    'a painter who needs light',
    'friends who play a board game',
    'a musician who practises',
    'somebody who cleans the room',
    'a child who looks for a toy',
    'somebody who repairs things',
)


@SYPHUS_TASKS.register_module()
class IndoorScenes(Task):
    """What can be planned in a room, from descriptions of its objects (ScanNet with ScanRefer; MIMIC-IT's SN).

    The annotation is a list of sentences, or ``{"description": [[object, sentence], ...]}``.

    Args:
        lines: descriptions that are said of each room, drawn by its id.
        people: who may be in the room; some are drawn for each, so that plans differ.
    """

    name = 'SN'
    prompts = {'': 'indoor_scenes'}
    capability = 'planning'

    def __init__(
        self,
        name: str | None = None,
        prompt: str | None = None,
        pairs: int = 3,
        lines: int = 50,
        people: Sequence[str] = PEOPLE,
    ) -> None:
        super().__init__(name, prompt, pairs)
        self.lines, self.people = lines, tuple(people)

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        if isinstance(note, dict) and isinstance(note.get('description'), list):
            note = [entry[-1] if isinstance(entry, list) and entry else entry for entry in note['description']]
        told = sentences(note)
        if told is None:
            raise self.wrong(item, 'sentences or {"description": [[object, sentence], ...]}')
        draw = random.Random(hashlib.sha256(item.id.encode()).digest())
        chosen = [told[place] for place in sorted(draw.sample(range(len(told)), min(self.lines, len(told))))]
        people = draw.sample(self.people, min(self.number, len(self.people)))
        lines = [*chosen, *(['', 'People who may use the room:', *people] if people else [])]
        return '\n'.join(lines)


@SYPHUS_TASKS.register_module()
class SpotTheDifference(Task):
    """Two pictures of one place, and what changed (Spot-the-Diff): sentences, or ``{"sentences": [...]}``."""

    name = 'SD'
    prompts = {'': 'spot_the_difference'}
    capability = 'perception'

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        told = sentences(note.get('sentences') if isinstance(note, dict) else note)
        if told is None:
            raise self.wrong(item, 'sentences on what changed')
        return '\n'.join(told)


@SYPHUS_TASKS.register_module()
class SceneDifference(Task):
    """Two similar pictures, each with captions and boxes of its objects (COCO; MIMIC-IT's CGD).

    The annotation is ``{"a": {"captions": [...], "objects": [{"name", "box": [x, y, w, h]}, ...]}, "b": {...}}``, or a
    text.
    """

    name = 'CGD'
    prompts = {'': 'scene_difference'}
    capability = 'reasoning'

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        if isinstance(note, dict) and isinstance(note.get('sentences'), str):
            note = note['sentences']
        if isinstance(note, str):
            return note.strip()
        if not isinstance(note, dict) or not all(isinstance(note.get(side), dict) for side in 'ab'):
            raise self.wrong(item, '{"a": {"captions", "objects"}, "b": {"captions", "objects"}}')
        return '\n\n'.join(f'picture {side}:\n{described(note[side], item, self)}' for side in 'ab')


def described(note: dict, item: Item, task: Task) -> str:
    """A picture's captions and objects line by line."""
    captions = sentences(note.get('captions') or note.get('caption'))
    objects = note.get('objects') or []
    if captions is None or not isinstance(objects, list):
        raise task.wrong(item, '{"captions": [text, ...], "objects": [{"name", "box": [x, y, w, h]}, ...]}')
    lines = list(captions)
    for entry in objects:
        if not isinstance(entry, dict) or not entry.get('name'):
            raise task.wrong(item, 'objects {"name", "box": [x, y, w, h]}')
        box = entry.get('box')
        lines.append(f'{entry["name"]}: {list(box)}' if box else str(entry['name']))
    return '\n'.join(lines)
