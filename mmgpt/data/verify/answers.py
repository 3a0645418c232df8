"""How long the answers of a set are: short ones teach a model to reply in a word or two."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

SHORT = 5  # words
_WORD = re.compile(  # a run of letters and digits; of scripts without blanks between words, each character
    r'[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|(?:(?![\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f])\w)+'
)


def count_words(text: str) -> int:
    """The number of words of a text.

    Example:
        >>> count_words('It is 7.'), count_words('猫です')
        (3, 3)
    """
    return len(_WORD.findall(text))


def describe_lengths(lengths: Sequence[int]) -> dict[str, Any]:
    """Figures of a set's answer lengths, in words.

    MultiModal-GPT found the data's answer lengths decisive: trained on sets with answers of a few words (VQAv2,
    OK-VQA, GQA, CLEVR, NLVR), it answered anything in a few words, and left them out (arXiv 2305.04790, section 3.2).

    Returns:
        ``answers``, ``mean``, ``median``, ``p5``, ``p95``, ``max``, ``short`` (share of at most ``SHORT`` words),
        ``histogram`` (upper bound of words -> answers), ``warning`` (a sentence, or None).
    """
    if not len(lengths):
        return {'answers': 0, 'warning': None}
    words = np.asarray(lengths)
    bounds = [1, 2, 5, 10, 20, 50, 100, 200, 500]
    counts = np.bincount(np.searchsorted(bounds, words), minlength=len(bounds) + 1)
    short = float((words <= SHORT).mean())
    warning = None
    if short >= 0.5:
        warning = (
            f'at least half of the answers have at most {SHORT} words: a model trained on them learns to reply that '
            'shortly to anything. Say so in the questions ("answer in a word"), write the answers out, or give the set '
            'a small num_samples'
        )
    return {
        'answers': len(words),
        'mean': round(float(words.mean()), 2),
        **{name: int(np.percentile(words, share)) for name, share in (('p5', 5), ('median', 50), ('p95', 95))},
        'max': int(words.max()),
        'short': round(short, 4),
        'histogram': {name: int(count) for name, count in zip([*map(str, bounds), 'more'], counts)},
        'warning': warning,
    }
