"""Videos and series of pictures: dense captions, TV clips, first-person video, stories."""

from __future__ import annotations

from typing import Any

from mmgpt.registry import SYPHUS_TASKS
from mmgpt.syphus.items import Item
from mmgpt.syphus.tasks.base import Task, numbered, sentences


@SYPHUS_TASKS.register_module()
class DenseCaptions(Task):
    """Events of a video with their times (ActivityNet Captions; MIMIC-IT's DC).

    The annotation is ``{"timestamps": [[start, end], ...], "sentences": [text, ...]}`` in seconds, or sentences alone.
    """

    name = 'DC'
    prompts = {'': 'dense_captions'}
    capability = 'perception'

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        told = sentences(note.get('sentences') if isinstance(note, dict) else note)
        times = note.get('timestamps') if isinstance(note, dict) else None
        if told is None or (times is not None and len(times) != len(told)):
            raise self.wrong(item, '{"timestamps": [[start, end], ...], "sentences": [text, ...]}, as many of each')
        if times is None:
            return numbered(told)
        return '\n'.join(f'{_span(time, item, self)}: {line}' for time, line in zip(times, told))


def _span(time: Any, item: Item, task: Task) -> str:
    try:
        start, end = time
        return f'{round(float(start))}-{round(float(end))} s'
    except (TypeError, ValueError):
        raise task.wrong(item, f'times [start, end] in seconds, not {str(time)[:40]}') from None


@SYPHUS_TASKS.register_module()
class TVCaptions(Task):
    """Descriptions of a clip of a TV show (TVR/TVC); sentences, or ``{"descs": [{"desc": text}, ...]}``."""

    name = 'TVC'
    prompts = {'': 'tv_captions'}
    capability = 'reasoning'

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        if isinstance(note, dict) and isinstance(note.get('descs'), list):
            note = [entry.get('desc', '') if isinstance(entry, dict) else str(entry) for entry in note['descs']]
        told = sentences(note)
        if told is None:
            raise self.wrong(item, 'sentences or {"descs": [{"desc": text}, ...]}')
        return numbered(told)


@SYPHUS_TASKS.register_module()
class EgocentricVideo(Task):
    """Narrations of a first-person video (Ego4D).

    The annotation is ``[{"time": s, "text": "#C C opens a door", "objects": [...]}, ...]``, or sentences.
    Ego4D's marks ``#C`` (who wears the camera) and ``#O`` (others) become words.
    """

    name = 'E4D'
    prompts = {'': 'egocentric_video'}
    capability = 'planning'

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        note = note.get('narrations', note) if isinstance(note, dict) else note
        told = sentences(note)
        if told is None:
            if not isinstance(note, list) or not all(
                isinstance(e, dict) and isinstance(e.get('text'), str) for e in note
            ):
                raise self.wrong(item, '[{"time": seconds, "text": narration, "objects": [text, ...]}, ...]')
            told = []
            for entry in note:
                objects = entry.get('objects') or entry.get('object_description') or []
                seen = f' (objects: {", ".join(map(str, objects))})' if objects else ''
                time = f'{round(float(entry["time"]))} s: ' if entry.get('time') is not None else ''
                told.append(f'{time}{entry["text"].strip()}{seen}')
        return '\n'.join(_plain(line) for line in told)


def _plain(line: str) -> str:
    for mark, words in (('#C C ', 'the camera wearer '), ('#c c ', 'the camera wearer '), ('#O ', 'another person: ')):
        line = line.replace(mark, words)
    return line.replace('#unsure', 'something').replace('#C', '').replace('#O', '')


@SYPHUS_TASKS.register_module()
class VisualStorytelling(Task):
    """Pictures of an album and the story told about them (VIST).

    The annotation is ``{"title", "description", "images": [{"tags": [...], "text": text}, ...]}``, or sentences.
    """

    name = 'VST'
    prompts = {'': 'visual_storytelling'}
    capability = 'reasoning'

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        note = item.annotation
        told = sentences(note)
        if told is not None:
            return '\n'.join(f'picture {place}: {line}' for place, line in enumerate(told, 1))
        if not isinstance(note, dict) or not isinstance(note.get('images'), list):
            raise self.wrong(item, 'sentences or {"title", "description", "images": [{"tags", "text"}, ...]}')
        lines = [f'{name}: {note[name]}' for name in ('title', 'description') if note.get(name)]
        for place, image in enumerate(note['images'], 1):
            tags = ', '.join(image.get('tags') or ())
            lines.append(f'picture {place}: {image.get("text", "")}{f" (tags: {tags})" if tags else ""}'.rstrip())
        return '\n'.join(lines)
