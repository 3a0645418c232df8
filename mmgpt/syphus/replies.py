"""Reads instruction-response pairs out of whatever a model replied: JSON, whole or broken, or lines with marks.

Nothing is lost silently: what is no part of a pair is told as a fault with its reason, or as remarks around the pairs.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from mmgpt.syphus.items import Pair
from mmgpt.syphus.json_replies import json_values, looks_like_json

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
LONGEST = 255  # pairs of one reply


class Fault(NamedTuple):
    """A part of a reply that is no pair, and why."""

    text: str
    reason: str


class Parsed(NamedTuple):
    """What a reply holds.

    Args:
        pairs: in their order.
        faults: what should have been a pair.
        remarks: what stands around the pairs, such as 'Here are three questions:'.
    """

    pairs: tuple[Pair, ...] = ()
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()


def parse_reply(text: str, finish: str = 'stop') -> Parsed:
    """The pairs of a reply.

    Args:
        text: of the reply.
        finish: how it ended; 'length' = cut, so that its last answer is not whole.

    Example:
        >>> parse_reply('Question: What is it? Answer: A dog: brown.').pairs[0]
        Pair(instruction='What is it?', answer='A dog: brown.', extra={})
        >>> parse_reply('**Q1:** Where?').faults[0].reason
        'a question without an answer'
    """
    kept = _without_wrapping(text)
    if not kept.strip():
        return Parsed(faults=(Fault(text, 'the reply is empty' if not text.strip() else 'only thoughts, no reply'),))
    found = None
    if looks_like_json(kept):
        found = _of_json(kept)
    if found is None or not (found.pairs or found.faults):
        found = _of_lines(kept)
    if finish == 'length' and found.pairs:
        *whole, last = found.pairs
        cut = Fault(f'{last.instruction}\n{last.answer}', 'the reply was cut at its greatest length')
        ended = kept.rstrip().endswith(('}', ']', '```'))
        found = found if ended else found._replace(pairs=tuple(whole), faults=(*found.faults, cut))
    if len(found.pairs) > LONGEST:
        more = [Fault(pair.instruction, f'more than {LONGEST} pairs') for pair in found.pairs[LONGEST:]]
        found = found._replace(pairs=found.pairs[:LONGEST], faults=(*found.faults, *more))
    if not found.pairs and not found.faults:
        return found._replace(faults=(Fault(text, 'no question and no answer were found'),), remarks=())
    return found


def _without_wrapping(text: str) -> str:
    """Without thoughts, byte order mark, odd line ends and code fences."""
    text = text.replace('\ufeff', '').replace('\r\n', '\n').replace('\r', '\n').replace('\u2028', '\n')
    text = text.replace('\u00a0', ' ').replace('\u200b', '')
    text = re.sub(r'<(think|thinking|reasoning)>.*?(</\1>|\Z)', '', text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r'\A.*?</(think|thinking|reasoning)>', '', text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r'^[ \t]*(```|~~~)[ \t]*\w*[ \t]*$', '', text, flags=re.MULTILINE)


# JSON


def _of_json(text: str) -> Parsed | None:
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


# Lines with marks

_BEFORE = r'[ \t]*(?:[#>*\-•–_|"\'`(\[]|\d{1,3}[.):]|\([a-z0-9]{1,2}\))*[ \t]*(?:[*_"]{1,3})?'
_NUMBER = r'[ \t]*(?:#|no\.?)?[ \t]*\(?(?:\d{1,3}|[a-z])?\)?[ \t]*'
_COLON = r'(?:[*_"\]]{0,3}[ \t]*[:：][ \t]*[*_"]{0,3}|[*_]{0,3}[ \t]+[-–—=][>]?[ \t]+|[*_"]{2,3}[ \t]*(?=\n|\Z))'
_QUESTION = r'(?:questions?|instructions?|ques|q|query|user|human|问题|问|質問|指示|pregunta|frage)'
_ANSWER = r'(?:answers?|responses?|ans|a|output|assistant|gpt|bot|回答|答案|答|respuesta|antwort)'
_REASON = r'(?:reason(?:ing)?|rationale|explanation)'
_MARK = re.compile(
    rf'^{_BEFORE}(?:(?P<q>{_QUESTION})|(?P<a>{_ANSWER})|(?P<r>{_REASON}))(?<=\S){_NUMBER}{_COLON}', re.IGNORECASE
)
_INLINE = re.compile(
    rf'(?<=[\s?？.!)|*"])[|*_ (\["]{{0,4}}(?P<mark>{_ANSWER}|{_REASON}){_NUMBER}[*_]{{0,3}}[ ]?[:：]', re.I
)
_NEXT = re.compile(
    r'(?<=[\s.!?)|*"])[|*_ (\["]{0,4}(?:\d{1,3}[.)][ ]*)?(?P<mark>questions?|instructions?|q\d*)[ '
    r']?\d*[*_]{0,3}[ ]?[:：]',
    re.I,
)
_TAG = re.compile(r'</?(question|instruction|q|a|b|answer|response|pair|pairs|qa|item)\b[^>]*>', re.IGNORECASE)
_HEADING = re.compile(
    r'^[\W_]*(conversation|dialogue|dialog|pair|round|example|scene|q&a|qa)\b[ \t]*#?\d*[\W_]*$', re.I
)
_RULE = re.compile(r'^[\s\-_=*~#.•|:+]+$')
_CLOSING = re.compile(
    r'^\W*(i hope (this|these)|let me know|hope (this|these)|please let me know|feel free to|note( that)?:'
    r'|these (pairs|questions)'
    r'|would you like|is there anything|if you (need|want|have))',
    re.IGNORECASE,
)
_BARE = re.compile(r'^[ \t]*(?:[-*•][ \t]+|\d{1,3}[.)][ \t]+)?(?P<text>\S.*[?？؟][*_"]{0,3})[ \t]*$')
_OPENING = re.compile(
    r'^(here (are|is)|sure|certainly|of course|okay|ok|below|the following|following|as requested|generated)\b', re.I
)


class _Lines:
    """Goes through marked lines and keeps what is open."""

    def __init__(self) -> None:
        self.pairs: list[Pair] = []
        self.faults: list[Fault] = []
        self.remarks: list[str] = []
        self.open: dict[str, list[str]] = {}
        self.field = ''

    def mark(self, field: str) -> None:
        if field == 'q' or (field == 'a' and 'a' in self.open) or (field == 'r' and 'q' not in self.open):
            self.close()
        self.open.setdefault(field, [])
        self.field = field

    def text(self, line: str) -> None:
        if self.field:
            self.open[self.field].append(line)
        elif line.strip():
            self.remarks.append(line)

    def close(self) -> None:
        """The pair that is open is complete."""
        texts = {field: _unwrapped('\n'.join(lines)) for field, lines in self.open.items()}
        self.open, self.field = {}, ''
        if not texts:
            return
        if texts.get('q') and texts.get('a'):
            extra = {'reason': texts['r']} if texts.get('r') else {}
            self.pairs.append(Pair(texts['q'], texts['a'], extra))
            return
        whole = '\n'.join(filter(None, texts.values()))
        if texts.get('q'):
            self.faults.append(Fault(whole, 'a question without an answer'))
        elif texts.get('a'):
            self.faults.append(Fault(whole, 'an answer without a question'))
        else:
            self.faults.append(Fault(whole, 'an empty pair'))


def _of_lines(text: str) -> Parsed:
    text = _table(_tagged(text))
    reader = _Lines()
    lines = text.split('\n')
    for place, line in enumerate(lines):
        if _RULE.match(line) or _HEADING.match(line):
            if line.strip() and not _HEADING.match(line):
                continue
            if _HEADING.match(line):
                reader.close()
                reader.remarks.append(line)
            elif reader.field:
                reader.text('')
            continue
        if _CLOSING.match(line) and reader.field == 'a' and (place == 0 or not lines[place - 1].strip()):
            reader.close()
            reader.remarks.append(line)
            continue
        for field, piece in _pieces(line):
            if field:
                reader.mark(field)
            reader.text(piece)
    reader.close()
    if not reader.pairs and not reader.faults:
        return _bare(lines)
    return Parsed(tuple(reader.pairs), tuple(reader.faults), tuple(reader.remarks))


def _pieces(line: str) -> list[tuple[str, str]]:
    """A line in marked pieces: '' goes on with what is open."""
    found = _MARK.match(line)
    if not found:
        return [('', line)]
    field = found.lastgroup
    rest = line[found.end() :]
    if field == 'q' and (inline := _INLINE.search(f' {rest}')):
        start, end = inline.start() - 1, inline.end() - 1
        tail = rest[end:]
        more = _NEXT.search(f' {tail}')
        if more:  # everything in one line
            begin = more.start() - 1
            return [
                ('q', rest[: max(start, 0)]),
                ('a', tail[: max(begin, 0)]),
                *_pieces(tail[max(begin, 0) :].lstrip()),
            ]
        return [('q', rest[: max(start, 0)]), ('a', tail)]
    return [(field, rest)]


def _tagged(text: str) -> str:
    """Tags like <question> as marked lines; <a> and <b> are question and answer as in the published translations."""
    if not re.search(r'<(question|instruction|q|a)\b[^>]*>', text, re.IGNORECASE):
        return text
    letters = not re.search(r'<(question|instruction|q)\b', text, re.IGNORECASE)

    def line(found: re.Match) -> str:
        name = found[1].lower()
        if found[0].startswith('</') or name in ('pair', 'pairs', 'qa', 'item'):
            return '\n'
        if letters:
            return {'a': '\nQuestion: ', 'b': '\nAnswer: '}.get(name, found[0])
        return '\nQuestion: ' if name in ('question', 'instruction', 'q') else '\nAnswer: '

    return _TAG.sub(line, text)


def _table(text: str) -> str:
    """Rows of a Markdown table of two columns, with or without a number, as marked lines."""
    lines = text.split('\n')
    rows = [[cell.strip() for cell in line.strip().strip('|').split('|')] for line in lines]
    head = next((place for place, row in enumerate(rows) if len(row) > 1 and _is_head(row)), None)
    if head is None:
        return text
    names = [cell.lower().strip('*_ ') for cell in rows[head]]
    question = next(place for place, name in enumerate(names) if re.fullmatch(_QUESTION, name, re.I))
    answer = next(place for place, name in enumerate(names) if re.fullmatch(_ANSWER, name, re.I))
    made = lines[:head]
    for line, row in zip(lines[head + 1 :], rows[head + 1 :]):
        if len(row) == len(names) and '|' in line:
            if not all(re.fullmatch(r':?-+:?', cell) for cell in row):
                made += [f'Question: {row[question]}', f'Answer: {row[answer]}', '']
        else:
            made.append(line)
    return '\n'.join(made)


def _is_head(row: list[str]) -> bool:
    names = [cell.strip('*_ ') for cell in row]
    return all(any(re.fullmatch(kind, name, re.I) for name in names) for kind in (_QUESTION, _ANSWER))


def _bare(lines: list[str]) -> Parsed:
    """Without any mark: a line that ends in a question mark, and the text below it up to the next such line."""
    reader = _Lines()
    for line in lines:
        found = _BARE.match(line)
        if found and not _OPENING.match(found['text']):
            reader.mark('q')
            reader.text(found['text'])
        elif reader.open and line.strip():
            if 'a' not in reader.open:
                reader.mark('a')
            reader.text(re.sub(r'^[ \t]*[-*•–>][ \t]*', '', line))
        else:
            reader.text(line)
    reader.close()
    if not reader.pairs:
        return Parsed(remarks=tuple(line for line in lines if line.strip()))
    return Parsed(tuple(reader.pairs), tuple(reader.faults), tuple(reader.remarks))


def _unwrapped(text: str) -> str:
    """Without the marks of bold, italics and quotes that wrap all of it."""
    text = text.strip().strip('|').strip()
    for wrap in ('***', '**', '__', '*', '"', '“', '`'):
        end = {'“': '”'}.get(wrap, wrap)
        if len(text) > 2 * len(wrap) and text.startswith(wrap) and text.endswith(end):
            inner = text[len(wrap) : -len(end)]
            if wrap not in inner and end not in inner:
                text = inner.strip()
    return re.sub(r'\n{3,}', '\n\n', re.sub(r'[*_]{2,3}$', '', text) if text.count('**') % 2 else text).strip()
