"""Reads instruction-response pairs out of whatever a model replied: JSON, whole or broken, or lines with marks.

Nothing is lost silently: what is no part of a pair is told as a fault with its reason, or as remarks around the pairs.
"""

from __future__ import annotations

import re

from mmgpt.syphus.items import Fault, Parsed
from mmgpt.syphus.json_pairs import pairs_of_json
from mmgpt.syphus.json_values import looks_like_json
from mmgpt.syphus.line_pairs import pairs_of_lines

LONGEST = 255  # pairs of one reply


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
    as_json = looks_like_json(kept) and not _begins_with_a_question(kept)
    if as_json:
        found = pairs_of_json(kept)
    if found is None or not (found.pairs or found.faults):
        found, as_json = pairs_of_lines(kept), False
    if finish == 'length' and found.pairs and not as_json:  # of JSON, what was cut could not be read
        *whole, last = found.pairs
        cut = Fault(f'{last.instruction}\n{last.answer}', 'the reply was cut at its greatest length')
        found = found._replace(pairs=tuple(whole), faults=(*found.faults, cut))
    if len(found.pairs) > LONGEST:
        more = [Fault(pair.instruction, f'more than {LONGEST} pairs') for pair in found.pairs[LONGEST:]]
        found = found._replace(pairs=found.pairs[:LONGEST], faults=(*found.faults, *more))
    if not found.pairs and not found.faults:
        return found._replace(faults=(Fault(text, 'no question and no answer were found'),), remarks=())
    return found


def _begins_with_a_question(text: str) -> bool:
    """Whether what stands before the first bracket begins a pair in lines, so that the bracket is part of a text."""
    begun = pairs_of_lines(re.split(r'[\[{]', text, maxsplit=1)[0])
    return bool(begun.pairs or begun.faults)


def _without_wrapping(text: str) -> str:
    """Without thoughts, byte order mark, odd line ends and code fences."""
    text = text.replace('\ufeff', '').replace('\r\n', '\n').replace('\r', '\n').replace('\u2028', '\n')
    text = text.replace('\u00a0', ' ').replace('\u200b', '')
    text = re.sub(r'<(think|thinking|reasoning)>.*?(</\1>|\Z)', '', text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r'\A.*?</(think|thinking|reasoning)>', '', text, flags=re.DOTALL | re.IGNORECASE)
    return re.sub(r'^[ \t]*(```|~~~)[ \t]*\w*[ \t]*$', '', text, flags=re.MULTILINE)
