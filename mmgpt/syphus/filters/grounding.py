"""Names and numbers that the annotation does not hold."""

from __future__ import annotations

import re

from mmgpt.registry import SYPHUS_FILTERS
from mmgpt.syphus.english import AUXILIARY, FUNCTION
from mmgpt.syphus.filters.base import Candidate, Filter

_words = str.split
_UNITS = _words(
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen '
    'eighteen nineteen'
)
_TENS = _words('twenty thirty forty fifty sixty seventy eighty ninety')
NUMBER_WORDS = {word: value for value, word in enumerate(_UNITS)}
NUMBER_WORDS |= {word: 20 + 10 * place for place, word in enumerate(_TENS)}
NUMBER_WORDS |= {'dozen': 12, 'hundred': 100, 'thousand': 1000, 'million': 1_000_000}
_NUMBER = re.compile(r'(?<![\w.])\d+(?:[.,]\d{3})*(?:[.,]\d+)?')
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+")
_TITLE = re.compile(r'\b(?:Mr|Mrs|Ms|Dr|Prof|St)\.\s*$')
_SENTENCE_END = re.compile(r'[.!?:;…"“”\n)\]\-–—]\s*$')
# Written with a capital wherever they stand.
ORDINARY = set(
    _words(
        """i i'm i'd i'll i've mr mrs ms dr tv dvd usb ok okay cd pc ai am pm monday tuesday wednesday thursday friday
        saturday sunday january february march april may june july august september october november december english
        spanish french german chinese japanese korean arabic italian american european asian african british christmas
        easter halloween god internet english-speaking yes no"""
    )
)
# Begin a sentence without an article and are followed by a verb in the third person, as names are.
_NO_NAMES = set(
    _words(
        """he she it this that there here what who which everyone everybody someone somebody something nobody
        nothing anything anyone each one another other nature water light snow rain sand music food traffic
        smoke steam fire daylight sunlight children people men women police grass bread paper glass wood
        metal everything neither either both none all most much little then now first next later finally
        also only still yes no maybe perhaps today work life time dust ice mud"""
    )
)
_SINGULAR = r'\s+(?:is|was|has|does|[a-z]{2,}[^s\W]s)\b'
_VERB_AFTER = re.compile(rf'{_SINGULAR}|\s+(?:had|will|did|can|could|would|and [A-Z]\w+|[a-z]{{2,}}ed)\b')
_SINGULAR_AFTER = re.compile(_SINGULAR)


@SYPHUS_FILTERS.register_module()
class Ungrounded(Filter):
    """A name in the pair, or a number in its answer, that the annotation does not hold.

    A name is a word with a capital letter within a sentence. Small numbers may have been counted, so they pass.

    Args:
        counted: numbers up to this one pass.
        names, numbers: what to check.
    """

    def __init__(self, counted: int = 3, names: bool = True, numbers: bool = True) -> None:
        self.counted, self.names, self.numbers = counted, names, numbers

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        if self.names:
            known = {_stem(word) for word in _WORD.findall(pair.facts)}
            for text in (pair.answer, pair.instruction):
                for name in names_in(text):
                    if _stem(name) not in known:
                        return f'the name {name!r} is not in the annotation'
        if self.numbers:
            known_numbers = numbers_in(f'{pair.facts}\n{pair.instruction}')
            for number in numbers_in(pair.answer):
                if number > self.counted and not any(abs(number - known) <= 0.5 for known in known_numbers):
                    return f'the number {number:g} is not in the annotation'
        return None


def names_in(text: str) -> list[str]:
    """Words with a capital letter within a sentence, and those at its beginning that a verb follows at once.

    Example:
        >>> names_in("The letter is from Berlin. Nora reads it on Monday. Water drips.")
        ['Berlin', 'Nora']
    """
    found = []
    for match in _WORD.finditer(text):
        word = match[0]
        if not word[0].isupper() or word.lower() in ORDINARY or len(word) == 1:
            continue
        before = text[: match.start()]
        begins = not before.strip() or (_SENTENCE_END.search(before) and not _TITLE.search(before))
        if begins and not _begins_as_name(word, text[match.end() :]):
            continue
        found.append(word)
    return found


def _begins_as_name(word: str, after: str) -> bool:
    """Whether the first word of a sentence is a name: no article, and a verb of the third person, or a possessive."""
    plain = re.sub(r"['’]s$", '', word.lower())
    if plain in _NO_NAMES or plain in FUNCTION or plain in AUXILIARY or plain.endswith(('ly', 'ing')):
        return False
    if plain != word.lower():
        return True
    return bool((_SINGULAR_AFTER if plain.endswith('s') else _VERB_AFTER).match(after))


def numbers_in(text: str) -> list[float]:
    """The numbers of a text, written in digits or as English words.

    Example:
        >>> numbers_in('Twenty-one of 1,500 people waited 2.5 hours.')
        [1500.0, 2.5, 21]
    """
    found: list[float] = []
    for digits in _NUMBER.findall(text):
        plain = re.sub(r'[.,](?=\d{3}(?!\d))', '', digits) if re.search(r'[.,]\d{3}(?!\d)', digits) else digits
        found.append(float(plain.replace(',', '.')))
    words = [word.lower() for word in re.findall(r'[A-Za-z]+', text)]
    place = 0
    while place < len(words):
        value = NUMBER_WORDS.get(words[place])
        if value is not None:
            following = NUMBER_WORDS.get(words[place + 1]) if place + 1 < len(words) else None
            if 20 <= value < 100 and following is not None and 0 < following < 10:
                value, place = value + following, place + 1
            elif value < 100 and following in (100, 1000, 1_000_000):
                value, place = value * following, place + 1
            found.append(value)
        place += 1
    return found


def _stem(word: str) -> str:
    word = re.sub(r"['’]s?$", '', word.lower())
    return word[:-1] if len(word) > 3 and word.endswith('s') else word
