"""Figures of captions: CIDEr-D, BLEU and ROUGE-L, equal to those of pycocoevalcap, whose tokenizer is in Java."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmgpt.evaluation.metrics.base import Metric
from mmgpt.evaluation.metrics.ptb import tokenize
from mmgpt.registry import METRICS

ORDERS = (1, 2, 3, 4)
Ngrams = Counter[tuple[str, ...]]


class CaptionMetric(Metric):
    """Answers are captions, references lists of captions. Both are tokenised as the Penn Treebank is."""

    main: str

    def __call__(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], Any]:
        """See :class:`Metric`.

        Raises:
            ValueError: a caption has no references.
        """
        lacking = [number for number, few in enumerate(references) if not few]
        if lacking:
            raise ValueError(f'the caption {answers[lacking[0]]!r} (number {lacking[0]}) has no references')
        return self.of_tokens([tokenize(text) for text in answers], [[*map(tokenize, few)] for few in references])

    def of_tokens(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], Any]:
        """The figures of captions that are tokenised: tokens with one blank between them."""
        raise NotImplementedError


@METRICS.register_module()
class CIDEr(CaptionMetric):
    """CIDEr-D (arXiv 1411.5726, section 6) x 100: document frequencies are those of the references that are given.

    Args:
        sigma: of the penalty on a difference in length.
    """

    main = 'CIDEr'

    def __init__(self, sigma: float = 6.0) -> None:
        self.sigma = sigma

    def of_tokens(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], tuple]:
        """See :class:`CaptionMetric`."""
        said = [[ngrams(text) for text in few] for few in references]
        documents = Counter(gram for few in said for gram in set().union(*few))
        weigh = _Weights(documents, len(references))
        scores = []
        for text, few in zip(answers, said, strict=True):
            given = weigh(ngrams(text))
            # published implementations call the number of bigrams the length
            scores.append(100 * float(np.mean([self._similarity(given, weigh(other)) for other in few])))
        return {'CIDEr': float(np.mean(scores))}, tuple(scores)

    def _similarity(self, given: _Vector, other: _Vector) -> float:
        sums = np.zeros(len(ORDERS))
        for gram, weight in given.weights.items():
            there = other.weights.get(gram, 0.0)
            sums[len(gram) - 1] += min(weight, there) * there
        norms = given.norms * other.norms
        sums = np.divide(sums, norms, out=sums, where=norms != 0)
        return 10 * float(sums.mean()) * math.exp(-((given.length - other.length) ** 2) / (2 * self.sigma**2))


class _Vector:
    def __init__(self, weights: dict[tuple[str, ...], float], length: int) -> None:
        self.weights, self.length = weights, length
        squares = np.zeros(len(ORDERS))
        for gram, weight in weights.items():
            squares[len(gram) - 1] += weight**2
        self.norms = np.sqrt(squares)


class _Weights:
    def __init__(self, documents: Ngrams, count: int) -> None:
        self.documents, self.total = documents, math.log(count)

    def __call__(self, counts: Ngrams) -> _Vector:
        weights = {
            gram: times * (self.total - math.log(max(1.0, self.documents[gram]))) for gram, times in counts.items()
        }
        return _Vector(weights, sum(times for gram, times in counts.items() if len(gram) == 2))


@METRICS.register_module()
class BLEU(CaptionMetric):
    """BLEU-1 to BLEU-4 of the whole corpus x 100, with the length of the closest reference."""

    main = 'BLEU-4'

    def of_tokens(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], None]:
        """See :class:`CaptionMetric`."""
        right, given = np.zeros(len(ORDERS)), np.zeros(len(ORDERS))
        length = wanted = 0
        for text, few in zip(answers, references, strict=True):
            most: Ngrams = Counter()
            for other in few:
                most |= ngrams(other)
            words = len(text.split())
            length += words
            wanted += min((abs(len(other.split()) - words), len(other.split())) for other in few)[1]
            given += [max(0, words - order + 1) for order in ORDERS]
            for gram, times in (ngrams(text) & most).items():
                right[len(gram) - 1] += times
        precisions = (right + 1e-15) / (given + 1e-9)  # the published smoothing
        ratio = (length + 1e-15) / (wanted + 1e-9)
        penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        values = np.cumprod(precisions) ** (1 / np.array(ORDERS)) * penalty
        return {f'BLEU-{order}': 100 * float(value) for order, value in zip(ORDERS, values, strict=True)}, None


@METRICS.register_module()
class ROUGEL(CaptionMetric):
    """ROUGE-L x 100: the best recall and the best precision over the references, recall weighing 1.2 squared."""

    main = 'ROUGE-L'

    def of_tokens(self, answers: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[str, float], tuple]:
        """See :class:`CaptionMetric`."""
        scores = []
        for text, few in zip(answers, references, strict=True):
            words = text.split(' ')
            common = [(longest_common(words, other.split(' ')), len(other.split(' '))) for other in few]
            precision = max(length / len(words) for length, _ in common)
            recall = max(length / of for length, of in common)
            found = precision > 0 and recall > 0
            beta = 1.2**2
            scores.append(100 * (1 + beta) * precision * recall / (recall + beta * precision) if found else 0.0)
        return {'ROUGE-L': float(np.mean(scores))}, tuple(scores)


def ngrams(text: str) -> Ngrams:
    """How often a tokenised text has each run of one to four tokens."""
    words = text.split()
    return Counter(tuple(words[i : i + n]) for n in ORDERS for i in range(len(words) - n + 1))


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = defaultdict(int)
    for word in one:
        before = 0
        for place, there in enumerate(other):
            kept = row[place]
            row[place] = before + 1 if word == there else max(kept, row[place - 1])
            before = kept
    return row[len(other) - 1]
