"""Which language a text is in, offline: its script, and for Latin letters the library lingua."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from mmgpt.registry import SYPHUS_FILTERS
from mmgpt.syphus.filters.base import Candidate, Filter

LANGUAGES = {
    'en': 'ENGLISH',
    'zh': 'CHINESE',
    'ja': 'JAPANESE',
    'es': 'SPANISH',
    'de': 'GERMAN',
    'fr': 'FRENCH',
    'ko': 'KOREAN',
    'ar': 'ARABIC',
}
SCRIPTS = {'zh': ('CJK',), 'ja': ('HIRAGANA', 'KATAKANA', 'CJK'), 'ko': ('HANGUL',), 'ar': ('ARABIC',)}
SURE = 0.65  # confidence above which another language counts
LETTERS = 25  # a text of fewer is not judged by its words: names and loan words would decide


@lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        from lingua import Language, LanguageDetectorBuilder
    except ImportError as error:
        raise ImportError(
            'languages are told by lingua, which is not installed: pip install "mmgpt[syphus]"'
        ) from error
    names = [getattr(Language, name) for name in LANGUAGES.values()]
    return LanguageDetectorBuilder.from_languages(*names).build()


def script_of(character: str) -> str:
    """'LATIN', 'CJK', 'HANGUL', …: the first word of a letter's Unicode name."""
    return unicodedata.name(character, '?').partition(' ')[0]


def scripts(text: str) -> dict[str, float]:
    """The share of each script in the letters of a text.

    Example:
        >>> scripts('犬 a')
        {'CJK': 0.5, 'LATIN': 0.5}
    """
    counts: dict[str, int] = {}
    for character in text:
        if character.isalpha():
            name = 'LATIN' if character.isascii() else script_of(character)
            counts[name] = counts.get(name, 0) + 1
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def wrong_language(text: str, language: str) -> str | None:
    """Why a text is not in a language; None where it is, or cannot be told.

    Args:
        text: marks such as ``<image>`` and ``{name}`` are left aside.
        language: one of ``LANGUAGES``.

    Example:
        >>> wrong_language('这是一只狗。', 'ja')
        'it has no kana'
    """
    text = re.sub(r'<[^<>\s]{1,40}>|\{[^{}\s]{1,40}\}|https?://\S+', ' ', text)
    shares = scripts(text)
    if not shares:
        return None
    if language in SCRIPTS:
        share = sum(part for name, part in shares.items() if name in SCRIPTS[language])
        if share < 0.3:
            return f'{share:.0%} of its letters are of the script'
        kana = shares.get('HIRAGANA', 0) + shares.get('KATAKANA', 0)
        if language == 'zh' and kana > 0.05:
            return 'it has kana'
        if language == 'ja' and not kana and sum(character.isalpha() for character in text) > 4:
            return 'it has no kana'
        return None
    if shares.get('LATIN', 0) < 0.7:
        return f'{shares.get("LATIN", 0):.0%} of its letters are Latin'
    if sum(character.isalpha() for character in text) < LETTERS:
        return None
    best = _detector().compute_language_confidence_values(text)[0]
    name = best.language.name
    return f'it is {name.title()}' if name != LANGUAGES[language] and best.value > SURE else None


@SYPHUS_FILTERS.register_module()
class OtherLanguage(Filter):
    """The instruction or the answer is in another language.

    Args:
        language: that is expected, such as 'en'.
    """

    def __init__(self, language: str = 'en') -> None:
        if language not in LANGUAGES:
            raise ValueError(f'language must be one of {", ".join(LANGUAGES)}, got {language!r}')
        self.language = language

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        for name, text in (('instruction', pair.instruction), ('answer', pair.answer)):
            if found := wrong_language(text, self.language):
                return f'the {name}: {found}'
        return None
