"""Prompts: a system message and in-context examples, from a file or from the newest version of the cold start."""

from __future__ import annotations

import hashlib
import json
import runpy
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mmgpt.syphus.items import Pair
from mmgpt.syphus.json_pairs import QUESTION_KEYS
from mmgpt.syphus.replies import parse_reply

JSON_FORM = (
    'Reply with one JSON object and nothing else: {"pairs": [{"question": "...", "answer": "..."}, ...]}, as many '
    'pairs as are asked for.'
)
TEXT_FORM = (
    'Write each pair as two lines that begin with "Question: " and "Answer: ", and leave an empty line between pairs. '
    'Write nothing else.'
)
SCHEMA = {
    'type': 'object',
    'properties': {
        'pairs': {
            'type': 'array',
            'items': {
                'type': 'object',
                'properties': {'question': {'type': 'string'}, 'answer': {'type': 'string'}},
                'required': ['question', 'answer'],
                'additionalProperties': False,
            },
        }
    },
    'required': ['pairs'],
    'additionalProperties': False,
}
Form = Literal['json', 'text']


class Example(NamedTuple):
    """An item's query and the pairs that a good reply to it has."""

    query: str
    pairs: tuple[Pair, ...]


class Prompt(NamedTuple):
    """What is said to the model before an item's query.

    Args:
        system: the system message, without the form of the reply.
        examples: the in-context examples.

    Example:
        >>> prompt = Prompt('Ask about the clip.', (Example('A man dives.', (Pair('What does he do?', 'He dives.'),)),))
        >>> [message['role'] for message in prompt.messages('A dog barks.')]
        ['system', 'user', 'assistant', 'user']
    """

    system: str
    examples: tuple[Example, ...] = ()

    def messages(self, query: str, form: Form = 'json', reminder: str = '') -> list[dict[str, str]]:
        """The messages of a request.

        Args:
            query: of the item.
            form: of the replies.
            reminder: said after the query, where a reply to it could not be read.
        """
        system = f'{self.system}\n\n{JSON_FORM if form == "json" else TEXT_FORM}'
        messages = [{'role': 'system', 'content': system}]
        for example in self.examples:
            messages.append({'role': 'user', 'content': example.query})
            messages.append({'role': 'assistant', 'content': write_pairs(example.pairs, form)})
        return [*messages, {'role': 'user', 'content': f'{query}\n\n{reminder}' if reminder else query}]

    def digest(self) -> str:
        """A hash of everything that the prompt says."""
        return hashlib.sha256(json.dumps(self, ensure_ascii=False).encode('utf-8', 'replace')).hexdigest()[:16]


def write_pairs(pairs: tuple[Pair, ...], form: Form) -> str:
    """Pairs as a reply has them; ``parse_reply`` reads either form."""
    if form == 'json':
        told = [{'question': pair.instruction, 'answer': pair.answer} for pair in pairs]
        return json.dumps({'pairs': told}, ensure_ascii=False)
    return '\n\n'.join(f'Question: {pair.instruction}\nAnswer: {pair.answer}' for pair in pairs)


def shipped_prompt(name: str) -> Prompt:
    """A prompt that comes with mmgpt, such as 'dense_captions'."""
    return read_prompt(files('mmgpt.syphus').joinpath(f'prompts/{name}.json'))


def read_prompt(path: Any) -> Prompt:
    """The prompt of a file.

    Args:
        path: JSON ``{"system_message": str, "in_context": [{"role", "content"}, ...]}``, where a user's message is
            followed by the assistant's, whose content is a text or a list of ``{"Question", "Answer"}``; or a Python
            file with the same two names (it is run); or a text file with the system message alone.

    Raises:
        OSError: there is no such file.
        ValueError: it is no prompt; the message tells the place.
    """
    path = Path(path) if isinstance(path, str) else path
    if not path.is_file():
        raise FileNotFoundError(f'there is no prompt file {path}')
    kind = path.name.rpartition('.')[2].lower()
    if kind == 'py':
        read = runpy.run_path(str(path))
    else:
        try:
            text = path.read_text(encoding='utf-8')
            read = json.loads(text) if kind == 'json' else {'system_message': text}
        except ValueError as error:
            raise ValueError(f'{path}: is no {"JSON" if kind == "json" else "text in UTF-8"}: {error}') from None
    return parse_prompt(read, str(path))


def parse_prompt(read: Any, where: str) -> Prompt:
    """A prompt file's content as a prompt; see :func:`read_prompt`."""
    if not isinstance(read, dict) or not isinstance(read.get('system_message'), str):
        raise ValueError(f'{where}: expected {{"system_message": text, "in_context": [...]}}, got {str(read)[:60]}')
    messages, examples = read.get('in_context') or [], []
    if not isinstance(messages, list) or len(messages) % 2:
        raise ValueError(f'{where}: "in_context" must be a list in which user and assistant take turns')
    for place in range(0, len(messages), 2):
        query = _content(messages[place], 'user', f'{where}: in_context[{place}]')
        answer = _content(messages[place + 1], 'assistant', f'{where}: in_context[{place + 1}]')
        pairs = _example_pairs(answer, f'{where}: in_context[{place + 1}]')
        if not isinstance(query, str):
            raise ValueError(f'{where}: in_context[{place}]: a query must be a text, got {str(query)[:60]}')
        examples.append(Example(query, pairs))
    if not (examples or read['system_message'].strip()):
        raise ValueError(f'{where}: the prompt says nothing')
    return Prompt(read['system_message'].strip(), tuple(examples))


def prompt_file(prompt: Prompt, **meta: Any) -> dict[str, Any]:
    """A prompt as the content of a prompt file."""
    messages = []
    for query, pairs in prompt.examples:
        told = [{'Question': pair.instruction, 'Answer': pair.answer} for pair in pairs]
        messages += [{'role': 'user', 'content': query}, {'role': 'assistant', 'content': told}]
    return {'system_message': prompt.system, 'in_context': messages, **({'meta': meta} if meta else {})}


def _content(message: Any, role: str, where: str) -> Any:
    if not isinstance(message, dict) or message.get('role') != role or 'content' not in message:
        raise ValueError(f'{where}: expected {{"role": {role!r}, "content": ...}}, got {str(message)[:60]}')
    return message['content']


def _example_pairs(content: Any, where: str) -> tuple[Pair, ...]:
    if isinstance(content, list):
        content = json.dumps(content, ensure_ascii=False)
    if not isinstance(content, str):
        raise ValueError(f'{where}: expected a text or a list of {{"Question", "Answer"}}, got {str(content)[:60]}')
    parsed = parse_reply(content)
    if not parsed.pairs or parsed.faults:
        fault = parsed.faults[0].reason if parsed.faults else 'there is no pair in it'
        raise ValueError(
            f'{where}: the example cannot be read: {fault}; known keys are {", ".join(QUESTION_KEYS[:3])}, …'
        )
    return parsed.pairs
