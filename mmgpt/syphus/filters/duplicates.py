"""Pairs that are there already, word for word or nearly; what was seen lies in a file, not in memory."""

from __future__ import annotations

import itertools
import re
import sqlite3
import unicodedata
import zlib
from collections.abc import Iterator

import numpy as np

from mmgpt.registry import SYPHUS_FILTERS
from mmgpt.syphus.filters.base import Candidate, Filter
from mmgpt.syphus.filters.texts import count_words

HASHES, ROWS = 96, 4  # of a signature; of a band: 24 bands find a pair of similarity 0.7 with 0.998


def normalized(text: str) -> str:
    """In small letters, without marks, with single blanks."""
    text = unicodedata.normalize('NFKC', text).casefold()
    return ' '.join(re.findall(r'\w+', text))


class _Seen(Filter):
    """Keeps what was seen in a temporary SQLite file."""

    def __init__(self, short: int) -> None:
        if short < 0:
            raise ValueError(f'short must not be below 0, got {short}')
        self.short = short
        self._base: sqlite3.Connection | None = None

    def begin(self) -> None:
        """See :class:`Filter`."""
        self.end()
        self._base = sqlite3.connect('')  # a file that the system deletes
        self._base.execute('PRAGMA cache_size = -8192')
        self._base.execute('PRAGMA journal_mode = OFF')
        self._base.execute('PRAGMA synchronous = OFF')
        self._base.execute('CREATE TABLE texts (id INTEGER PRIMARY KEY, item TEXT, text TEXT)')
        self._base.execute('CREATE INDEX items ON texts (item)')
        self._base.execute('CREATE TABLE marks (mark INTEGER, id INTEGER, PRIMARY KEY (mark, id)) WITHOUT ROWID')

    def end(self) -> None:
        """See :class:`Filter`."""
        if self._base is not None:
            self._base.close()
            self._base = None

    def _scope(self, pair: Candidate) -> str:
        """Short answers are rightly the same about other items."""
        words = count_words(pair.instruction) + count_words(pair.answer)
        return pair.item if words < self.short else ''

    def _like(self, marks: list[int]) -> Iterator[tuple[int, str, str]]:
        places = ','.join('?' * len(marks))
        query = (  # those that share most come first
            f'SELECT t.id, item, text FROM (SELECT id, count(*) AS c FROM marks WHERE mark IN ({places}) GROUP BY id '
            'ORDER BY c DESC, id LIMIT 50) m JOIN texts t ON t.id = m.id ORDER BY c DESC, t.id'
        )
        yield from self._base.execute(query, marks).fetchall()

    def _of(self, item: str) -> Iterator[tuple[int, str, str]]:
        yield from self._base.execute('SELECT id, item, text FROM texts WHERE item = ? ORDER BY id', (item,)).fetchall()

    def _keep(self, pair: Candidate, text: str, marks: list[int]) -> None:
        self._base.execute('INSERT INTO texts VALUES (?, ?, ?)', (pair.id, pair.item, text))
        self._base.executemany('INSERT OR IGNORE INTO marks VALUES (?, ?)', [(mark, pair.id) for mark in marks])


@SYPHUS_FILTERS.register_module()
class Duplicates(_Seen):
    """The same instruction and answer came before, but for marks and capital letters.

    Args:
        short: pairs of fewer words, such as 'What digit is this? 7', count only within an item.
    """

    def __init__(self, short: int = 14) -> None:
        super().__init__(short)

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        if self._base is None:
            self.begin()
        scope = self._scope(pair)
        text = f'{normalized(pair.instruction)}\n{normalized(pair.answer)}'
        mark = zlib.crc32(f'{scope}\n{text}'.encode('utf-8', 'replace'))
        for _, item, other in self._like([mark]):
            if other == text and scope in ('', item):
                return f'as of item {item}'
        self._keep(pair, text, [mark])
        return None


@SYPHUS_FILTERS.register_module()
class NearDuplicates(_Seen):
    """Nearly the same pair came before: MinHash finds candidates, whose common runs of words are then counted.

    Args:
        threshold: least Jaccard similarity of their runs of two words.
        short: pairs of fewer words count only within an item.
    """

    def __init__(self, threshold: float = 0.8, short: int = 20) -> None:
        super().__init__(short)
        if not 0 < threshold <= 1:
            raise ValueError(f'threshold must be above 0 and at most 1, got {threshold}')
        self.threshold = threshold
        draw = np.random.default_rng(0)
        self._a = draw.integers(1, 1 << 31, HASHES, dtype=np.uint64)
        self._b = draw.integers(0, 1 << 31, HASHES, dtype=np.uint64)

    def __call__(self, pair: Candidate) -> str | None:
        """See :class:`Filter`."""
        if self._base is None:
            self.begin()
        scope = self._scope(pair)
        text = f'{normalized(pair.instruction)} | {normalized(pair.answer)}'
        runs = shingles(text)
        if not runs:
            return None
        marks = self._bands(runs)
        for _, item, other in self._of(scope) if scope else self._like(marks):
            others = shingles(other)
            similarity = len(runs & others) / len(runs | others)
            if similarity >= self.threshold:
                return f'{similarity:.0%} as of item {item}'
        self._keep(pair, text, marks)
        return None

    def _bands(self, runs: set[int]) -> list[int]:
        """A number for each band of the MinHash signature; similar sets share some."""
        values = np.fromiter(runs, np.uint64, len(runs))
        hashed = (values[:, None] * self._a + self._b) % np.uint64(4_294_967_311)  # below 2**63 before the modulus
        signature = hashed.min(0).astype(np.uint32).reshape(-1, ROWS)
        return [(place << 32) | zlib.crc32(band.tobytes()) for place, band in enumerate(signature)]


def shingles(text: str) -> set[int]:
    """Hashes of the runs of two words; of two characters where a script has no blanks."""
    words = re.findall(r'[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+', text)
    runs = itertools.pairwise(words) if len(words) > 1 else ([word] for word in words)
    return {zlib.crc32(' '.join(run).encode('utf-8', 'replace')) for run in runs}
