"""The file of predictions: grows batch by batch, is taken up again after an interruption, and ends in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from mmgpt.data.whole_file import whole_file
from mmgpt.evaluation.items import Answer, Prompt

SETTINGS = 'evaluation.json'
PREDICTIONS = 'predictions.jsonl'
KINDS = {'task': str, 'shots': int, 'seed': int, 'answer': str, 'raw': str}  # of what each line has, beside its id


class Predictions:
    """``predictions.jsonl`` in a folder, a line for each answer; beside it ``evaluation.json``, the settings.

    Every process opens it; the first one reads and writes.

    Args:
        out: the folder.
        settings: JSON of all that answers depend on. Lines of other settings are not taken over; the file is kept as
            ``predictions.previous.jsonl``, or with a number where there is one.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = out / PREDICTIONS
        self._file = None
        found = [self._read(out, json.loads(json.dumps(settings))) if is_main_process() else None]
        broadcast_object_list(found)
        self.lines: dict[tuple, dict[str, Any]] = {self.key(line): line for line in found[0]}

    @staticmethod
    def key(line: Mapping[str, Any]) -> tuple:
        """What tells a line from all others."""
        return line['task'], line['shots'], line['seed'], repr(line['id'])

    def _read(self, out: Path, settings: Any) -> list[dict[str, Any]]:
        """The whole lines of an earlier run with the same settings, and the file opened to go on behind them."""
        lines, beside = [], out / SETTINGS
        if self.path.is_file():
            try:
                same = json.loads(beside.read_text(encoding='utf-8')) == settings
            except (OSError, ValueError):
                same = False
            if same:
                lines = _whole_lines(self.path)
            else:
                names = (f'.previous{number or ""}.jsonl' for number in count() if number != 1)
                previous = next(path for path in map(self.path.with_suffix, names) if not path.exists())
                self.path.replace(previous)
                print(f'other settings than of the answers in {out}: asked anew, those are now {previous.name}')
        if not lines or not beside.is_file():
            _write(beside, json.dumps(settings, indent=1, ensure_ascii=False) + '\n')
        _write(self.path, ''.join(map(_line, lines)))  # without a line that was torn
        self._file = self.path.open('a', encoding='utf-8')
        return lines

    def add(self, lines: Iterable[dict[str, Any]]) -> None:
        """Adds a batch of lines; all processes add the same."""
        lines = list(lines)
        self.lines |= {self.key(line): line for line in lines}
        if self._file is not None:
            self._file.write(''.join(map(_line, lines)))
            self._file.flush()

    def finish(self, keys: Sequence[tuple], further: Mapping[tuple, Mapping[str, Any]]) -> None:
        """Writes the file anew, in the order of ``keys`` and with what is known of each answer only now.

        Behind them stay the lines of other shots and seeds, which an earlier run asked with the same settings.
        """
        if self._file is None:
            return
        self._file.close()
        asked = {key[:-1] for key in keys}
        others = [line for key, line in self.lines.items() if key[:-1] not in asked]
        lines = [{**self.lines[key], **further.get(key, {})} for key in keys]
        _write(self.path, ''.join(map(_line, lines + others)))

    def close(self) -> None:
        """Closes the file as it is."""
        if self._file is not None:
            self._file.close()


def line_of(prompt: Prompt, answer: Answer) -> dict[str, Any]:
    """What a line says of its prompt and the answer."""
    line = {**_told(prompt), 'answer': answer.text, 'raw': answer.raw}
    if answer.scores is not None:
        line['scores'] = list(answer.scores)
    if answer.unanswered:
        line['unanswered'] = answer.unanswered
    return line


def answer_of(line: Mapping[str, Any]) -> Answer:
    """The answer that a line holds."""
    scores = None if line.get('scores') is None else tuple(line['scores'])
    return Answer(line['answer'], line['raw'], scores, line.get('unanswered', ''))


def is_stale(line: Mapping[str, Any], prompt: Prompt) -> bool:
    """Whether the prompt has to be asked anew: its question was refused, or the data files have changed since."""
    return bool(line.get('unanswered')) or any(line.get(name) != value for name, value in _told(prompt).items())


def _told(prompt: Prompt) -> dict[str, Any]:
    """What a line says of its prompt, as JSON has it."""
    told = {
        'question': prompt.query.question,
        'demonstrations': [item.id for item in prompt.demonstrations],
        'references': prompt.query.references,
    }
    return json.loads(json.dumps(told))


def _line(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + '\n'


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text(encoding='utf-8', errors='replace').split('\n')[:-1]:
        try:
            line = json.loads(text)
        except ValueError:
            continue  # the run ended while it was written
        if isinstance(line, dict) and 'id' in line and all(isinstance(line.get(n), kind) for n, kind in KINDS.items()):
            lines.append(line)  # else someone changed it, and it is asked again
    return lines


def _write(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding='utf-8')
