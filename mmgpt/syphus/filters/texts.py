"""Filters that look at the texts of a pair alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmgpt.registry import SYPHUS_FILTERS
from mmgpt.syphus.filters.base import Candidate, Filter

_SPOKEN = re.compile(r'[^\W_]')
_UNSPACED = re.compile(r'[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]')  # scripts whose words no blank divides


def count_words(text: str) -> int:
    """The words of a text; a character of a script without blanks counts as half a word."""
    unspaced = len(_UNSPACED.findall(text))
    return len(re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", _UNSPACED.sub(' ', text))) + (unspaced + 1) // 2


@SYPHUS_FILTERS.register_module()
class Empty(Filter):
    """The instruction or the answer has no letter and no digit, or is a mere place holder."""

    _PLACEHOLDER = re.compile(r'\W*(n/?a|none|null|nil|tbd|todo|unknown|\.{2,}|answer|question|insert.*here)\W*', re.I)

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        for name, text in (('instruction', pair.instruction), ('answer', pair.answer)):
            if not _SPOKEN.search(text):
                return f'the {name} is {text!r}'
            if self._PLACEHOLDER.fullmatch(text) and not (name == 'answer' and text.strip('. ').lower() == 'none'):
                return f'the {name} is the place holder {text!r}'
        return None


@SYPHUS_FILTERS.register_module()
class Length(Filter):
    """The instruction or the answer is too short or too long.

    Args:
        instruction, answer: fewest and most words.
    """

    def __init__(self, instruction: Sequence[int] = (2, 120), answer: Sequence[int] = (1, 400)) -> None:
        self.bounds = {'instruction': tuple(instruction), 'answer': tuple(answer)}
        for name, bounds in self.bounds.items():
            if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1]:
                raise ValueError(f'{name} must be (fewest, most) words, got {bounds}')

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        for name, text in (('instruction', pair.instruction), ('answer', pair.answer)):
            words, (fewest, most) = count_words(text), self.bounds[name]
            if not fewest <= words <= most:
                return f'the {name} has {words} words, not {fewest} to {most}'
        return None


_NOT_ABLE = (
    r"(?:can(?:no|')?t|cannot|can ?not|am (?:not able|unable)|'m (?:not able|unable|afraid|sorry)"
    r"|won't|could(?:n't| not))"
)
_REFUSAL = re.compile(
    r'\bas an? (?:ai|artificial|large|language|text)[\w -]*(?:model|assistant|system|program)?\b'
    rf'|\bi(?: am|\'m) (?:sorry|afraid)\b.{{0,60}}\b(?:i|we|but|not|no)\b'
    rf'|\bi {_NOT_ABLE} (?:answer|assist|help|provide|determine|see|view|tell|identify|comply|fulfill'
    rf'|generate|create|describe|access|process|say)\b'
    r"|\bi (?:do not|don't|did not) have (?:access|enough|sufficient|the ability|any information|information"
    r'|visual|personal|eyes)\b'
    r"|\b(?:it is|it's) (?:not possible|impossible) (?:to|for me to) (?:answer|determine|say|tell|know|identify|see)\b"
    r'|(?:^|[.!?]\s+|\b(?:i am|i\'m|we are|i|we) )(?:sorry|apologi[sz]e|apologies)\b'
    r'.{0,80}\b(?:cannot|can\'t|unable|not able|inconvenience|confusion|request)\b'
    r'|\bi (?:must|have to|need to) (?:decline|refuse)\b|\b(?:openai|chatgpt|my (?:training|programming|guidelines))\b'
    r"|\b(?:cannot|can't|could not) be (?:determined|answered|seen|inferred)(?: from| based| with|\W*$)"
    r'|\b(?:not|no|insufficient|without more) (?:enough |sufficient )?(?:information|context|details?)'
    r'(?: is| are| was)?(?: given| provided| available| to (?:answer|determine|say))',
    re.IGNORECASE | re.DOTALL,
)


@SYPHUS_FILTERS.register_module()
class Refusals(Filter):
    """The answer refuses, excuses itself or says that it is a language model."""

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        for text in (pair.answer, pair.instruction):
            found = _REFUSAL.search(text.replace('’', "'"))
            if found:
                return f'{found[0]!r}'
        return None


_GIVEN = r'(?:given|provided|above|supplied|input|listed|following)'
_NOTES = (
    r'(?:captions?|annotations?|descriptions?|notes?|sentences?|timestamps?|time ?codes?|bounding box(?:es)?'
    r'|bbox(?:es)?|coordinates|metadata|subtitles? file|texts?|information|context|data|tags?)'
)
LEAKS = {
    'a mark of prompts': r'</?(?:image|answer|s|pad|video|instruction|question)>|<\|[a-z_]+\|>|\[/?INST\]'
    r'|### ?(?:Instruction|Response|Human|Assistant)',
    'a role': r'(?im:^\W*(?:user|human|gpt\d?|assistant|system|question|answer|instruction|response|bot)\W{0,3}:\s)',
    'bracketed annotation': r'\[(?:male|female|man|woman|person|unsure|inaudible|laughter|music|name|object|speaker)'
    r'[\w ]*\]|#[CO]\b|#unsure',
    'coordinates': r'[\[(]\s*-?\d+(?:\.\d+)?\s*(?:,\s*-?\d+(?:\.\d+)?\s*){1,3}[\])]',
    'a time code': r'\b\d{1,2}:\d{2}(?::\d{2})?(?:[.,]\d+)?\s*(?:-->|-|–|to)\s*\d{1,2}:\d{2}|\btimestamps?\b'
    r'|\b\d+(?:\.\d+)?\s*(?:-|–|to)\s*\d+(?:\.\d+)? ?(?:s|sec|seconds)\b',
    'talk of the annotation': rf'\b{_GIVEN} {_NOTES}\b'
    r'|\b(?:the|these|those|this) (?:captions?|annotations?|bounding box(?:es)?|timestamps?|metadata|bbox(?:es)?)\b'
    r'|\b(?:according to|based on|from|in|as per|mentioned in|stated in) the '
    r'(?:captions?|annotations?|descriptions?|notes|sentences?|text provided)\b',
    'an id': r'\b(?:[A-Z0-9]{2,8}_(?:IMG|INS)_\w+|scene\d{4}_\d{2}|v_[\w-]{11}|COCO_\w+)\b',
    'JSON': r'["\'](?:question|answer|instruction|response|pairs)["\']\s*:|\\n\\n|\{\s*"',
}


@SYPHUS_FILTERS.register_module()
class Leakage(Filter):
    """Something of the annotation's form or of the prompt is in the pair: marks, coordinates, 'the captions', roles.

    Args:
        allow: kinds not to look for; see ``LEAKS``.
        patterns: more regular expressions.
    """

    def __init__(self, allow: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        if unknown := set(allow) - set(LEAKS):
            raise ValueError(f'allow: there is no kind {sorted(unknown)[0]!r}; kinds are {", ".join(LEAKS)}')
        kinds = {name: pattern for name, pattern in LEAKS.items() if name not in allow}
        kinds |= {f'the pattern {pattern}': pattern for pattern in patterns}
        self._patterns = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in kinds.items()}

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        for text in (pair.answer, pair.instruction):
            for name, pattern in self._patterns.items():
                if found := pattern.search(text):
                    return f'{name}: {found[0].strip()!r}'
        return None


# fmt: off
UNSAFE = (
    'kill yourself', 'commit suicide', 'how to make a bomb', 'build a bomb', 'pipe bomb', 'child porn*', 'porn*',
    'masturbat*', 'blowjob', 'rape', 'raped', 'rapist', 'genitals', 'nude', 'naked', 'cocaine', 'heroin',
    'methamphetamine', 'nazi*', 'white power', 'ethnic cleansing', 'subhuman*', 'beheading', 'self-harm',
    'cut his throat', 'cut her throat', 'slit her wrists', 'slit his wrists', 'fuck*', 'motherfucker*', 'cunt',
    'whore*', 'retard', 'retards',
)
# fmt: on


@SYPHUS_FILTERS.register_module()
class Unsafe(Filter):
    """A word or phrase of a list of unsafe ones is in the pair.

    Args:
        words: in place of the shipped list; ``*`` at the end stands for any ending.
        file: with more, one a line.
    """

    def __init__(self, words: Sequence[str] = UNSAFE, file: str | None = None) -> None:
        found = list(words)
        if file is not None:
            found += [line.strip() for line in Path(file).read_text(encoding='utf-8').split('\n') if line.strip()]
        if not found:
            raise ValueError('Unsafe needs words or a file')
        parts = [
            re.escape(word.rstrip('*')).replace(r'\ ', r'\s+') + (r'\w*' if word.endswith('*') else '')
            for word in found
        ]
        self._pattern = re.compile(rf'\b(?:{"|".join(parts)})\b', re.IGNORECASE)

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        found = self._pattern.search(f'{pair.instruction}\n{pair.answer}')
        return f'{found[0]!r}' if found else None
