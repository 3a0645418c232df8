"""Where a run stands, on disk: items, what was asked about them, the pairs that came of it and what became of those.

Nothing of it is held in memory, whatever the number of items; a killed run goes on from here.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmgpt.syphus.items import Item

PAGE = 500  # rows that are read at a time
SECONDS = 1.0  # between two commits: what is lost by a kill is in the cache of replies, or computed again

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS items (n INTEGER PRIMARY KEY, id TEXT UNIQUE, image_ids TEXT, annotation TEXT);
CREATE TABLE IF NOT EXISTS asks (
    n INTEGER, part TEXT, attempt INTEGER, key BLOB, outcome TEXT, reason TEXT, PRIMARY KEY (n, part, attempt)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fragments (n INTEGER, part TEXT, attempt INTEGER, text TEXT, reason TEXT);
CREATE TABLE IF NOT EXISTS pairs (
    id INTEGER PRIMARY KEY, n INTEGER, part TEXT, place INTEGER, instruction TEXT, answer TEXT, extra TEXT,
    verdict TEXT, detail TEXT
);
CREATE TABLE IF NOT EXISTS translations (
    pair INTEGER, language TEXT, attempt INTEGER, instruction TEXT, answer TEXT, verdict TEXT, detail TEXT,
    PRIMARY KEY (pair, language)
) WITHOUT ROWID;
"""
MADE_BY = {  # stage -> what it makes
    'generate': ('asks',),
    'parse': ('fragments', 'pairs'),
    'filter': (),
    'translate': ('translations',),
    'build': (),
}


class PairRow(NamedTuple):
    """A row of the table of pairs, with its item."""

    id: int
    item: Item
    part: str
    place: int
    instruction: str
    answer: str
    verdict: str | None
    detail: str | None


class State:
    """The state of a run in an SQLite file.

    Args:
        path: of the file.
        limit: the first so many items alone are asked about; None: all.

    Raises:
        ValueError: the file is something else.
    """

    def __init__(self, path: str | Path, limit: int | None = None) -> None:
        self.limit = limit
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.base = sqlite3.connect(path, timeout=60)
        try:
            self.base.execute('PRAGMA journal_mode = WAL')
            self.base.execute('PRAGMA synchronous = NORMAL')
            self.base.execute('PRAGMA cache_size = -16384')
            self.base.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self.base.close()
            raise ValueError(f'{path}: expected the SQLite state of a run, got {error}; move it away') from error
        self._committed = time.monotonic()

    def copy_from(self, path: str | Path) -> None:
        """Takes over what another file holds, which stays as it is."""
        other = sqlite3.connect(path, timeout=60)
        try:
            other.backup(self.base)
        finally:
            other.close()

    def close(self) -> None:
        """Writes what is waiting and closes the file."""
        self.base.commit()
        self.base.close()

    def write(self, statement: str, values: tuple = ()) -> None:
        """A change, on disk within about a second."""
        self.write_all(statement, [values])

    def write_all(self, statement: str, rows: Iterable[tuple]) -> None:
        """Changes of which a kill leaves all or none."""
        self.base.executemany(statement, rows)
        if time.monotonic() - self._committed > SECONDS:
            self.commit()

    def commit(self) -> None:
        """Everything that was written is on disk."""
        self.base.commit()
        self._committed = time.monotonic()

    def rows(self, query: str, values: tuple = ()) -> Iterator[tuple]:
        """The rows of a query that ends in a condition ``key > ?`` with the order of that key, its first column.

        They are read by pages, so that others may write meanwhile; what is written behind is not seen, what is written
        ahead is.
        """
        last: Any = -1
        while found := self.base.execute(f'{query} LIMIT {PAGE}', (*values, last)).fetchall():
            yield from found
            last = found[-1][0]

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the run."""
        row = self.base.execute('SELECT value FROM meta WHERE key = ?', (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def set(self, key: str, value: Any) -> None:
        """Keeps a value of the run, on disk at once."""
        self.base.execute('INSERT OR REPLACE INTO meta VALUES (?, ?)', (key, json.dumps(value, ensure_ascii=False)))
        self.commit()

    def count(self, table: str, condition: str = '1', values: tuple = ()) -> int:
        """The rows of a table that meet a condition."""
        return self.base.execute(f'SELECT count(*) FROM {table} WHERE {condition}', values).fetchone()[0]

    def tally(self, query: str, values: tuple = ()) -> dict[str, int]:
        """A query of two columns as a dict."""
        return dict(self.base.execute(query, values).fetchall())

    # Items

    def add_items(self, items: Iterable[Item], where: str) -> None:
        """Adds the items that are not there yet and checks those that are.

        Raises:
            ValueError: an id comes twice, or an item is not the one of the run so far.
        """
        there = self.count('items')
        try:
            self._add(items, where, there)
        except BaseException:
            self.base.execute('DELETE FROM items WHERE n >= ?', (there,))
            self.commit()
            raise

    def _add(self, items: Iterable[Item], where: str, there: int) -> None:
        number = -1
        for number, item in enumerate(items):
            row = (number, item.id, *(_clean(json.dumps(v, ensure_ascii=False)) for v in item[1:]))
            if number < there:
                known = self.base.execute('SELECT * FROM items WHERE n = ?', (number,)).fetchone()
                if known != row:
                    raise ValueError(
                        f'{where}: item {number + 1}, {item.id!r}, is not the one that the run began with '
                        f'({known[1]!r}): the file was changed. Use another work dir, or the file as it was'
                    )
                continue
            try:
                self.base.execute('INSERT INTO items VALUES (?, ?, ?, ?)', row)
            except sqlite3.IntegrityError:
                raise ValueError(f'{where}: the id {item.id!r} comes twice; each item needs one of its own') from None
            if number % 10_000 == 9999:
                self.commit()
        if number + 1 < (there if self.limit is None else min(there, self.limit)):
            raise ValueError(
                f'{where}: has {number + 1} items, the run began with {there}: the file was changed. Use another work '
                'dir, or the file as it was'
            )
        self.commit()

    def item(self, n: int) -> Item:
        """The item of a number."""
        row = self.base.execute('SELECT id, image_ids, annotation FROM items WHERE n = ?', (n,)).fetchone()
        return Item(row[0], tuple(json.loads(row[1])), json.loads(row[2]))

    def items(self) -> Iterator[tuple[int, Item]]:
        """All items with their numbers."""
        query = 'SELECT n, id, image_ids, annotation FROM items WHERE n > ? ORDER BY n'
        for n, id, images, annotation in self.rows(query):
            yield n, Item(id, tuple(json.loads(images)), json.loads(annotation))

    # What is to be asked

    def pending(self, part: str, attempt: int) -> Iterator[int]:
        """The items whose part waits for an attempt: the first, or a later one after a rejected reply."""
        answered = (
            'NOT EXISTS (SELECT 1 FROM asks a WHERE a.n = {0}.n AND a.part = ? AND a.attempt = ? '
            "AND a.outcome <> 'failed') AND n > ? ORDER BY n"
        )
        if attempt == 0:
            first = '1' if self.limit is None else f'n < {self.limit}'
            query, values = f'SELECT n FROM items WHERE {first} AND {answered.format("items")}', (part, 0)
        else:
            rejected = "part = ? AND attempt = ? AND outcome = 'rejected'"
            query = f'SELECT n FROM asks WHERE {rejected} AND {answered.format("asks")}'
            values = (part, attempt - 1, part, attempt)
        for row in self.rows(query, values):
            yield row[0]

    def unasked(self, part: str) -> int:
        """How many items' part waits for its first attempt, or for another try of it."""
        items = self.count('items') if self.limit is None else self.count('items', 'n < ?', (self.limit,))
        condition, values = "part = ? AND attempt = 0 AND outcome <> 'failed'", [part]
        if self.limit is not None:
            condition, values = f'{condition} AND n < ?', [part, self.limit]
        return items - self.count('asks', condition, tuple(values))

    def clear_from(self, stage: str) -> None:
        """Forgets what a stage and those after it have made; replies stay in their cache.

        Filtering leaves the texts of pairs as they are, and with them their translations.
        """
        stages = list(MADE_BY)
        for later in stages[stages.index(stage) :]:
            if (stage, later) == ('filter', 'translate'):
                continue
            for table in MADE_BY[later]:
                self.base.execute(f'DELETE FROM {table}')
            if later == 'parse' and stage == 'parse':
                self.base.execute("UPDATE asks SET outcome = 'answered', reason = NULL WHERE outcome <> 'failed'")
            if later == 'filter':
                self.base.execute('UPDATE pairs SET verdict = NULL, detail = NULL')
        self.forget(stages[stages.index(stage) :])

    def forget(self, stages: Sequence[str]) -> None:
        """Stages are not done any more; what they have made stays."""
        for stage in stages:
            self.base.execute('DELETE FROM meta WHERE key = ?', (f'done {stage}',))
        self.commit()

    # Pairs

    def pairs(self, condition: str = '1') -> Iterator[PairRow]:
        """The pairs, those of an item together, in the order of their items."""
        query = (
            'SELECT pairs.id, items.id, image_ids, annotation, part, place, instruction, answer, verdict, detail '
            f'FROM pairs JOIN items ON items.n = pairs.n WHERE {condition} AND pairs.id > ? ORDER BY pairs.id'
        )
        for id, item, images, annotation, *rest in self.rows(query):
            yield PairRow(id, Item(item, tuple(json.loads(images)), json.loads(annotation)), *rest)


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text if text.isascii() else text.encode('utf-8', 'replace').decode()
