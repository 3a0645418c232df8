"""Pairs in a reply that is JSON, whatever its objects are called and however they are nested."""

from __future__ import annotations

import re
from typing import Any

from mmgpt.syphus.items import Fault, Pair, Parsed
from mmgpt.syphus.json_values import json_values

QUESTION_KEYS = (
    'question',
    'instruction',
    'q',
    'query',
    'prompt',
    'human',
    'user',
    'input',
    'task',
    'ins',
    'a_question',
)
ANSWER_KEYS = ('answer', 'response', 'a', 'output', 'reply', 'completion', 'gpt', 'assistant', 'ans')
REASON_KEYS = ('reason', 'rationale', 'explanation')


def pairs_of_json(text: str) -> Parsed | None:
    """The pairs of a text that holds JSON; None where it holds none that could be pairs."""
    values, rest, broken = json_values(text)
    pairs: list[Pair] = []
    faults: list[Fault] = []
    for value in values:
        _collect(value, pairs, faults)
    if not pairs and not faults and not (broken and text.lstrip().startswith(('[', '{'))):
        return None
    faults += [Fault(piece, 'broken JSON') for piece in broken if piece.strip(' \n\t,[]{}')]
    return Parsed(tuple(pairs), tuple(faults), tuple(line for line in rest if line.strip()))


def _collect(value: Any, pairs: list[Pair], faults: list[Fault], depth: int = 0) -> None:
    """Walks into lists and objects for pairs."""
    if depth > 8:
        faults.append(Fault(str(value)[:200], 'nested too deeply'))
    elif isinstance(value, list):
        if value and all(_role(turn) for turn in value):
            _turns(value, pairs, faults)
        elif len(value) == 2 and all(isinstance(part, str) for part in value):
            _add(value[0], value[1], {}, pairs, faults)
        else:
            for part in value:
                _collect(part, pairs, faults, depth + 1)
    elif isinstance(value, dict):
        _object({str(name): part for name, part in value.items()}, pairs, faults, depth)
    elif isinstance(value, str) and value.strip() and depth:
        faults.append(Fault(value, 'a text where a pair was expected'))


def _object(value: dict[str, Any], pairs: list[Pair], faults: list[Fault], depth: int) -> None:
    plain = {re.sub(r'[\W_]*\d*[\W_]*$', '', name.strip().lower()): part for name, part in value.items()}
    question, answer = _first(plain, QUESTION_KEYS), _first(plain, ANSWER_KEYS)
    several = [name for name in value if re.fullmatch(r'(q|question|instruction)[\W_]*\d+', name.strip().lower())]
    if len(several) > 1:  # {"question1": ..., "answer1": ...}
        for name in several:
            number = re.search(r'\d+', name)[0]
            answers = [k for k in value if re.fullmatch(rf'(a|answer|response)[\W_]*{number}', k.strip().lower())]
            _add(value[name], value[answers[0]] if answers else None, {}, pairs, faults)
    elif _scalar(question) or _scalar(answer):
        reason = _first(plain, REASON_KEYS)
        extra = {'reason': str(reason).strip()} if _scalar(reason) else {}
        _add(question, answer, extra, pairs, faults)
    else:
        inner = [part for part in value.values() if isinstance(part, dict | list)]
        texts = {name: part for name, part in value.items() if isinstance(part, str) and part.strip()}
        if not inner and texts and all(name.rstrip().endswith(('?', '？', '؟')) for name in texts):
            for name, part in texts.items():  # {"What is it?": "A dog."}
                _add(name, part, {}, pairs, faults)
        elif not inner and texts:
            faults.append(Fault(str(value)[:500], 'an object without a question and an answer'))
        for part in inner:
            _collect(part, pairs, faults, depth + 1)


def _turns(turns: list[dict], pairs: list[Pair], faults: list[Fault]) -> None:
    waiting = None
    for turn in turns:
        text = _first(turn, ('value', 'content', 'text'))
        if _role(turn) == 'question':
            if waiting is not None:
                faults.append(Fault(str(waiting), 'a question without an answer'))
            waiting = text
        elif waiting is None:
            faults.append(Fault(str(text), 'an answer without a question'))
        else:
            _add(waiting, text, {}, pairs, faults)
            waiting = None
    if waiting is not None:
        faults.append(Fault(str(waiting), 'a question without an answer'))


def _role(turn: Any) -> str | None:
    role = str(turn.get('from') or turn.get('role') or '').lower() if isinstance(turn, dict) else ''
    if role in ('human', 'user', 'question', 'q'):
        return 'question'
    return 'answer' if role in ('gpt', 'assistant', 'answer', 'model', 'a') else None


def _first(value: dict, names: tuple[str, ...]) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


def _add(question: Any, answer: Any, extra: dict, pairs: list[Pair], faults: list[Fault]) -> None:
    if isinstance(answer, list) and answer and all(isinstance(part, str) for part in answer):
        answer = '\n'.join(answer)
    if isinstance(answer, bool):
        answer = 'Yes' if answer else 'No'
    texts = ['' if part is None else str(part).strip() if _scalar(part) else None for part in (question, answer)]
    if None in texts:
        faults.append(Fault(f'{question} {answer}'[:500], 'a question or answer that is no text'))
    elif texts[0] and texts[1]:
        pairs.append(Pair(texts[0], texts[1], extra))
    else:
        missing = 'an answer without a question' if texts[1] else 'a question without an answer'
        faults.append(Fault(texts[0] or texts[1], missing if any(texts) else 'an empty pair'))
