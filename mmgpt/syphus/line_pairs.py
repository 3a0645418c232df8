"""Pairs in a reply of lines with marks, such as the published ``Question: …`` and ``Answer: …``."""

from __future__ import annotations

import re

from mmgpt.syphus.items import Fault, Pair, Parsed

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


def pairs_of_lines(text: str) -> Parsed:
    """The pairs of marked lines, of tags or a table; without any mark, of questions with what stands below them."""
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
