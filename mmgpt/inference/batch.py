"""Answers to a file of requests, in batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgpt.data.json_lines import json_lines
from mmgpt.data.whole_file import whole_file
from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.examples import as_messages, beside, short_question
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.requests import Answer, Request


@dataclass
class Counts:
    """What became of a file's requests."""

    answered: int = 0
    failed: int = 0
    tokens: int = 0


def answer_file(
    engine: BatchEngine,
    source: str | Path,
    target: str | Path,
    settings: GenerationSettings | None = None,
    system: str | None = None,
    examples: Sequence[dict] = (),
    on_answer: Callable[[Counts], None] | None = None,
) -> Counts:
    """Answers a JSONL file of requests; the answers stand in the order of the requests.

    A request is ``{"messages": [...]}`` (see ``mmgpt.hub.messages``) or short, ``{"text", "image" | "images" | "video",
    "system", "examples"}``, with an ``"id"`` if it likes; paths are relative to the file. An answer is ``{"id", "text",
    "tokens", "finish", "seconds"}``, or ``{"id", "error"}`` where that request failed. The ``id`` of a request without
    one is its number, from 1.

    Args:
        engine: answers them.
        source: the requests.
        target: the answers; must not exist. Written beside and renamed.
        settings: how answers are generated.
        system: the system text of short requests that have none.
        examples: in-context examples of short requests that have none.
        on_answer: called after each answer.

    Raises:
        OSError: there is no such file, or ``target`` exists.
        ValueError: a line is no JSON object; the message names it. Nothing is then left behind.
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise FileExistsError(f'{target} exists already; remove it or choose another file')
    settings, counts = settings or GenerationSettings(), Counts()
    shown = as_messages(examples)
    ids: dict[int, Any] = {}
    ready: dict[int, Answer | BaseException] = {}

    def requests() -> Iterator[Request]:
        for place, record in enumerate(json_lines(source)):
            ids[place] = record.get('id', place + 1)
            try:
                prompt = engine.prompt(messages_of(record, source.parent, system, shown))
            except Exception as error:  # whatever it is, it is of this request alone
                ready[place] = error
                prompt = None
            yield None if prompt is None else Request(prompt, settings)

    target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(target) as partial, partial.open('w', encoding='utf-8') as file:
        written = 0
        for place, answer in engine.generate(requests()):
            ready[place] = answer if answer is not None else ready[place]
            while written in ready:
                line = _line(ids.pop(written), ready.pop(written), counts)
                file.write(json.dumps(line, ensure_ascii=False) + '\n')
                written += 1
                if on_answer is not None:
                    on_answer(counts)
    return counts


def messages_of(record: dict, folder: Path, system: str | None, examples: Sequence[dict]) -> list[dict]:
    """The messages of a request.

    Raises:
        ValueError: it is of neither form.
    """
    record = beside(record, folder)
    if 'messages' in record:
        return record['messages']
    if not isinstance(record.get('text'), str):
        raise ValueError(f"a request needs 'messages' or a 'text', got {record!r:.200}")
    system = record.get('system', system)
    first = [{'role': 'system', 'content': system}] if system else []
    shown = as_messages(record['examples']) if 'examples' in record else examples
    return [*first, *shown, short_question(record)]


def _line(name: Any, answer: Answer | BaseException, counts: Counts) -> dict[str, Any]:
    if isinstance(answer, BaseException):
        counts.failed += 1
        return {'id': name, 'error': str(answer) or type(answer).__name__}
    counts.answered += 1
    counts.tokens += answer.tokens
    return {
        'id': name,
        'text': answer.text,
        'tokens': answer.tokens,
        'finish': answer.finish,
        'seconds': round(answer.seconds, 3),
    }
