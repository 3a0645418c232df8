"""Translating a pair into several languages at once, and checking what comes back."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmgpt.inference.endpoint import Endpoint, RequestFailed
from mmgpt.syphus.filters.language import LANGUAGES, SCRIPTS, wrong_language
from mmgpt.syphus.json_values import json_values

TARGETS = ('zh', 'ja', 'es', 'de', 'fr', 'ko', 'ar')
SYSTEM = (
    'You translate questions and answers on pictures and videos for people who learn from them. You are given JSON '
    'with an instruction, an answer and language codes. Translate both texts into each language, as a native speaker '
    'would say it, without adding or leaving out anything. Keep marks such as <image>, {name} and web addresses as '
    'they are, write numbers in the digits 0 to 9 where the original has digits, and leave names that are not '
    'translated in use. Reply with one JSON object: {"<code>": {"instruction": "...", "answer": "..."}, ...}.'
)
BACK = 'Translate the text into English, sentence by sentence, adding nothing. Reply with the translation only.'
_MARK = re.compile(
    r'<[^<>\s]{1,40}>|\{[^{}\s]{1,40}\}|%\([^()\s]+\)[sd]|%[sd]|https?://[^\s)\]}>"、。]+|\[[A-Z][A-Z0-9_]+\]'
)
_NUMBER = re.compile(r'\d+(?:[.,٫٬]\d+)*')
_GROUPED = re.compile(r'(?<!\d)\d{1,3}(?:[ \u00a0\u202f]\d{3})+(?!\d)')  # 10 000, as French and Spanish write it
LONGER = {'zh': (0.1, 1.6), 'ja': (0.15, 2.5), 'ko': (0.15, 2.0)}  # characters for one of English; of others 0.35 to 3

CHRF_ORDER, CHRF_BETA = 6, 2  # the longest n-grams, and how much more recall counts than precision


class Translation(NamedTuple):
    """A pair in another language; ``verdict`` is 'kept', or the check that it failed, with what that found."""

    instruction: str
    answer: str
    verdict: str
    detail: str | None = None
    attempt: int = 0


class Translator:
    """Translates pairs.

    Args:
        languages: codes.
        max_asks: how often a language whose translation fails a check is asked for.
        back_translation: least chrF (0 to 1) of the instruction and answer translated back, against the original. None:
            they are not translated back.
    """

    def __init__(
        self, languages: Sequence[str] = TARGETS, max_asks: int = 2, back_translation: float | None = None
    ) -> None:
        if unknown := [language for language in languages if language not in LANGUAGES or language == 'en']:
            raise ValueError(f'languages must be some of {", ".join(TARGETS)}, got {unknown[0]!r}')
        if max_asks < 1:
            raise ValueError(f'max_asks must be at least 1, got {max_asks}')
        if back_translation is not None and not 0 < back_translation <= 1:
            raise ValueError(f'back_translation must be above 0 and at most 1, got {back_translation}')
        self.languages, self.max_asks, self.least = tuple(dict.fromkeys(languages)), max_asks, back_translation

    def messages(self, instruction: str, answer: str, languages: Sequence[str]) -> list[dict[str, str]]:
        """The messages that ask for translations."""
        told = {'instruction': instruction, 'answer': answer, 'languages': list(languages)}
        return [
            {'role': 'system', 'content': SYSTEM},
            {'role': 'user', 'content': json.dumps(told, ensure_ascii=False)},
        ]

    async def translate(
        self, instruction: str, answer: str, languages: Sequence[str], endpoint: Endpoint
    ) -> dict[str, Translation]:
        """A translation for each language; those that fail a check are asked for again by themselves.

        Where a request is given up, the languages that it was about have the verdict 'failed'; others stay.
        """
        found: dict[str, Translation] = {}
        left = list(languages)
        for attempt in range(self.max_asks):
            try:
                reply = await endpoint.ask(self.messages(instruction, answer, left), _schema(left), attempt)
            except RequestFailed as error:
                return found | {language: _failed(error) for language in left}
            read = read_translations(reply.text, left)
            for language in left:
                found[language] = await self._checked((instruction, answer), read.get(language), language, endpoint)
                found[language] = found[language]._replace(attempt=attempt)
            left = [language for language in left if found[language].verdict != 'kept']
            if not left:
                break
        return found

    async def _checked(
        self, source: tuple[str, str], made: tuple[str, str] | None, language: str, endpoint: Endpoint
    ) -> Translation:
        if made is None:
            return Translation('', '', 'unreadable', 'the reply has no such language')
        for original, text in zip(source, made):
            if fault := fault_of(original, text, language):
                return Translation(*made, *fault)
        if self.least is not None:
            try:
                back = '\n'.join([await self._back(text, endpoint) for text in made])
            except RequestFailed as error:
                return _failed(error)
            score = chrf('\n'.join(source), back)
            if score < self.least:
                return Translation(*made, 'back-translation', f'chrF {score:.2f}: {back[:200]!r}')
        return Translation(*made, 'kept')

    async def _back(self, text: str, endpoint: Endpoint) -> str:
        messages = [{'role': 'system', 'content': BACK}, {'role': 'user', 'content': text}]
        return (await endpoint.ask(messages, temperature=0.0)).text


def _failed(error: RequestFailed) -> Translation:
    """What stands for a translation whose request was given up."""
    return Translation('', '', 'failed', str(error))


def _schema(languages: Sequence[str]) -> dict[str, Any]:
    texts = {'instruction': {'type': 'string'}, 'answer': {'type': 'string'}}
    one = {'type': 'object', 'properties': texts, 'required': list(texts), 'additionalProperties': False}
    return {
        'type': 'object',
        'properties': dict.fromkeys(languages, one),
        'required': list(languages),
        'additionalProperties': False,
    }


def read_translations(text: str, languages: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Instruction and answer by language, out of a reply.

    Both this project's form and the published one, ``{"a": {"zh": ...}, "b": {"zh": ...}}``, are read.
    """
    found: dict[str, tuple[str, str]] = {}
    for value in json_values(re.sub(r'^\s*```\w*\s*$', '', text, flags=re.MULTILINE))[0]:
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if not isinstance(value, dict):
            continue
        if isinstance(value.get('translations'), dict):
            value = value['translations']
        first, second = value.get('a'), value.get('b')
        for language in languages:
            if isinstance(first, dict) and isinstance(second, dict):
                texts: Any = (first.get(language), second.get(language))
            else:
                entry = value.get(language)
                entry = entry if isinstance(entry, Mapping) else {}
                texts = (entry.get('instruction', entry.get('question')), entry.get('answer', entry.get('response')))
            texts = tuple(str(t) if isinstance(t, int | float) and not isinstance(t, bool) else t for t in texts)
            if all(isinstance(t, str) for t in texts):
                found[language] = (texts[0].strip(), texts[1].strip())
    return found


def fault_of(original: str, text: str, language: str) -> tuple[str, str] | None:
    """Which check a translation fails, and what was found; None where it passes all.

    Example:
        >>> fault_of('Take 2 of {name}.', 'Nimm zwei von {name}.', 'de')
        ('numbers', 'missing: 2')
    """
    if not text.strip():
        return 'empty', 'the translation is empty'
    for name, pieces in (('placeholders', _marks), ('numbers', _numbers)):
        before, after = pieces(original), pieces(text)
        if before != after and (name != 'numbers' or before != _numbers(_GROUPED.sub(_ungrouped, text))):
            told = [f'{word}: {", ".join(sorted((a - b).elements()))}' for word, a, b in
                    (('missing', before, after), ('added', after, before)) if a - b]  # fmt: skip
            return name, '; '.join(told)
    plain, source = _plain(text), _plain(original)
    if not any(character.isalpha() for character in source):
        return None  # nothing to translate
    copied = plain.casefold() == source.casefold()
    if copied and len(source.split()) <= 2 and (source[0].isupper() or language not in SCRIPTS):
        return None  # a name, or a word that both languages share
    if copied:
        return 'untranslated', 'it is the original'
    if fault := wrong_language(plain, language):
        return 'language', fault
    least, most = LONGER.get(language, (0.35, 3.0))
    if len(source) >= 30 and not least <= len(plain) / len(source) <= most:
        return 'length', f'{len(plain) / len(source):.2f} times as long as the original'
    return None


def _marks(text: str) -> Counter[str]:
    return Counter(_MARK.findall(text))


def _numbers(text: str) -> Counter[str]:
    """Digits of any script as ASCII digits, without separators."""
    text = _MARK.sub(' ', unicodedata.normalize('NFKC', text))
    plain = ''.join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)
    return Counter(re.sub(r'\D', '', number) for number in _NUMBER.findall(plain))


def _ungrouped(number: re.Match[str]) -> str:
    return re.sub(r'\s', '', number[0])


def _plain(text: str) -> str:
    return ' '.join(_MARK.sub(' ', text).split())


def chrf(reference: str, text: str) -> float:
    """Character n-gram F-score (chrF, Popović 2015), 0 to 1; blanks do not count.

    Example:
        >>> chrf('A dog barks.', 'A dog barks.'), round(chrf('A dog barks.', 'A dog barked.'), 2)
        (1.0, 0.72)
    """
    reference, text = (''.join(t.split()).casefold() for t in (reference, text))
    scores = []
    for n in range(1, CHRF_ORDER + 1):
        counts = [Counter(t[i : i + n] for i in range(len(t) - n + 1)) for t in (reference, text)]
        sizes = [sum(count.values()) for count in counts]
        if not all(sizes):
            continue
        common = sum((counts[0] & counts[1]).values())
        scores.append((common / sizes[1], common / sizes[0]))
    if not scores:
        return float(reference == text)
    precision, recall = (sum(part) / len(scores) for part in zip(*scores))
    weighted = CHRF_BETA**2 * precision + recall
    return (1 + CHRF_BETA**2) * precision * recall / weighted if weighted else 0.0
