"""Which items of the pool are shown before a query."""

from __future__ import annotations

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.evaluation.items import Item
from mmgpt.registry import DEMONSTRATIONS


class Demonstrations(ABC):
    """Chooses demonstrations. The choice for a query depends on the pool, the seed and the query's place alone."""

    @abstractmethod
    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """For each query the places of ``shots`` items of the pool, in the order in which they are shown.

        Raises:
            ValueError: the pool has fewer.
        """


@DEMONSTRATIONS.register_module()
class Random(Demonstrations):
    """Others for each query, drawn from ``pool_size`` items that are drawn once (OpenFlamingo, Flamingo).

    Where the pool holds the query itself, another item stands in its place.

    Args:
        pool_size: None = the whole pool.
        same: only such items are shown whose ``about`` says the same under this key as the query's. Default: all.
    """

    def __init__(self, pool_size: int | None = 2048, same: str | None = None) -> None:
        self.pool_size, self.same = pool_size, same

    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """See :meth:`Demonstrations.choose`."""
        _enough(pool, shots)
        places = range(len(pool))
        if self.pool_size is not None and self.pool_size < len(pool):
            places = np.random.RandomState(seed).choice(len(pool), self.pool_size, replace=False).tolist()
            _enough(places, shots)
        rng = random.Random(seed)
        among = {} if self.same is None else _by([self.same], pool, places)
        chosen = []
        for query in queries:
            some = places if self.same is None else among.get((_told(query, self.same),), ())
            drawn = rng.sample(_enough(some, shots), shots)
            if any(_is_own(query, pool[place]) for place in drawn):
                others = [place for place in some if not _is_own(query, pool[place])]
                drawn = rng.sample(_enough(others, shots), shots)
            chosen.append(drawn)
        return chosen


@DEMONSTRATIONS.register_module()
class Together(Demonstrations):
    """Random ones of which several make a shot: those whose ``about`` says the same under a key, in their order.

    Args:
        by: the key.
    """

    def __init__(self, by: str) -> None:
        self.by = by

    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """See :meth:`Demonstrations.choose`."""
        groups = _enough([*_by([self.by], pool).values()], shots)
        rng = random.Random(seed)
        return [[place for group in rng.sample(groups, shots) for place in group] for _ in queries]


@DEMONSTRATIONS.register_module()
class Ways(Demonstrations):
    """A shot is one example of each of several kinds in turn, the query's kind among them (few-shot episodes).

    The ``about`` of a query names its ``episode``, its ``way`` and all ``ways`` there are; that of an item of the pool
    its ``episode`` and its ``way``. The other kinds and their order are drawn, examples come in their order.

    Args:
        ways: how many kinds are shown.
    """

    def __init__(self, ways: int = 2) -> None:
        if ways < 1:
            raise ValueError(f'ways must be at least 1, got {ways}')
        self.ways = ways

    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """See :meth:`Demonstrations.choose`."""
        if not shots:
            return [[] for _ in queries]
        examples = _by(['episode', 'way'], pool)
        rng = random.Random(seed)
        chosen = []
        for query in queries:
            own, episode = _told(query, 'way'), _told(query, 'episode')
            others = _enough([way for way in _told(query, 'ways') if way != own], self.ways - 1, 'kinds')
            shown = rng.sample([own, *rng.sample(others, self.ways - 1)], self.ways)
            each = [_enough(examples.get((episode, way), ()), shots) for way in shown]
            chosen.append([places[number] for number in range(shots) for places in each])
        return chosen


@DEMONSTRATIONS.register_module()
class Fixed(Demonstrations):
    """The same for all queries, drawn once; what is computed of them is computed once.

    Args:
        ids: those of the pool, in this order, instead of drawn ones; the first ``shots`` are shown.
    """

    def __init__(self, ids: Sequence | None = None) -> None:
        self.ids = None if ids is None else list(ids)

    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """See :meth:`Demonstrations.choose`."""
        _enough(pool, shots)
        if self.ids is None:
            chosen = random.Random(seed).sample(range(len(pool)), shots)
        else:
            chosen = _places(self.ids, pool, shots, 'ids')
        return [chosen] * len(queries)


@DEMONSTRATIONS.register_module()
class FromFile(Demonstrations):
    """From a JSON file: a list of ids of the pool for all queries, or an object with such a list for each query's id.

    Args:
        path: of the file. Of each list the first ``shots`` are shown.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """See :meth:`Demonstrations.choose`."""
        try:
            chosen = json.loads(Path(self.path).read_text(encoding='utf-8'))
        except ValueError as error:
            raise ValueError(f'{self.path} is no JSON: {error}') from None
        lists = chosen.values() if isinstance(chosen, dict) else [chosen]
        if wrong := [few for few in lists if not isinstance(few, list)]:
            raise ValueError(
                f"{self.path} should be a list of ids of the pool, or an object with such a list for each query's id; "
                f'in place of a list it has {str(wrong[0])[:60]!r}'
            )
        if isinstance(chosen, list):
            return [_places(chosen, pool, shots, self.path)] * len(queries)
        missing = [query.id for query in queries if str(query.id) not in chosen]
        if missing:
            raise ValueError(f'{self.path} has no demonstrations for {len(missing)} queries, such as {missing[0]!r}')
        return [_places(chosen[str(query.id)], pool, shots, self.path) for query in queries]


@DEMONSTRATIONS.register_module()
class Rices(Demonstrations):
    """The items whose pictures are most similar to the query's, the most similar last (RICES, arXiv 2204.14198).

    Similarity is the cosine of features of the first picture, against the whole pool.

    Args:
        features: folders of features by picture, as ``tools/extract_features.py`` writes them: of the pool's pictures
            and of the queries'. A picture is found by its path below the folder that was described, or by its name.

    Raises:
        ValueError: a picture has no features; the message names it.
    """

    def __init__(self, features: str | Sequence[str]) -> None:
        self.features = [features] if isinstance(features, str) else list(features)

    def choose(self, queries: Sequence[Item], pool: Sequence[Item], shots: int, seed: int) -> list[list[int]]:
        """See :meth:`Demonstrations.choose`."""
        from mmgpt.data.incontext import FeatureTable

        _enough(pool, shots)
        if not shots:
            return [[] for _ in queries]
        tables = [FeatureTable(folder) for folder in self.features]
        known, asked = (np.stack([self._row(tables, item) for item in items]) for items in (pool, queries))
        chosen = []
        for start in range(0, len(asked), 256):
            similar = asked[start : start + 256] @ known.T
            for query, row in zip(queries[start : start + 256], similar, strict=True):
                others, some = [], shots
                while len(others) < shots and some < len(pool):
                    some = min(2 * some + 1, len(pool))
                    others = [place for place in _nearest(row, some) if not _is_own(query, pool[place])]
                chosen.append(_enough(others, shots)[:shots][::-1])
        return chosen

    def _row(self, tables: Sequence, item: Item) -> np.ndarray:
        if not item.media:
            raise ValueError(f'the item {item.id!r} has no picture, by which RICES finds its demonstrations')
        path = Path(str(item.media[0].frames[0]))
        # the longest name first: folders of train and val may both hold a 1.jpg
        for depth in range(min(4, len(path.parts)), 0, -1):
            name = '/'.join(path.parts[-depth:])
            rows = [row for table in tables if (row := table.find(name)) is not None]
            if any(not np.array_equal(row, rows[0]) for row in rows):
                raise ValueError(
                    f'{", ".join(self.features)}: several of them have other features of {name} (item {item.id!r}); '
                    'describe the folder above them, so that names tell the pictures apart'
                )
            if rows:
                return rows[0]
        raise ValueError(
            f'{", ".join(self.features)}: no features of {path.name} (item {item.id!r}); describe its folder with '
            'tools/extract_features.py CONFIG --images FOLDER --out DIR, and name DIR in features'
        )


def _is_own(query: Item, item: Item) -> bool:
    """Whether an item of the pool is the query itself, which would tell its answer."""
    asked = (query.media, query.question)
    return item is query or (any(asked) and asked == (item.media, item.question))


def _nearest(similar: np.ndarray, some: int) -> list[int]:
    """At least so many places, the most similar first; of equally similar ones the first of the file is the nearest."""
    least = np.partition(similar, len(similar) - some)[len(similar) - some]
    near = np.flatnonzero(similar >= least)
    return near[np.argsort(-similar[near], kind='stable')].tolist()


def _enough(pool: Sequence, shots: int, what: str = 'demonstrations') -> Sequence:
    if len(pool) < shots:
        raise ValueError(f'{shots} {what} are to be shown, and there are {len(pool)} to choose from')
    return pool


def _told(item: Item, key: str) -> Any:
    if key not in item.about:
        told = ', '.join(map(repr, item.about)) or 'nothing'
        raise ValueError(f'of the item {item.id!r} must be known its {key!r}, and its task tells {told}')
    return item.about[key]


def _by(keys: Sequence[str], pool: Sequence[Item], places: Sequence[int] | None = None) -> dict[tuple, list[int]]:
    """Places of the pool by what their items tell under ``keys``."""
    groups: dict[tuple, list[int]] = {}
    for place in range(len(pool)) if places is None else places:
        groups.setdefault(tuple(_told(pool[place], key) for key in keys), []).append(place)
    return groups


def _places(ids: Sequence, pool: Sequence[Item], shots: int, where: str) -> list[int]:
    known = {str(item.id): place for place, item in enumerate(pool)}
    if len(ids) < shots:
        raise ValueError(f'{where}: {shots} demonstrations are to be shown, and it lists {len(ids)}')
    unknown = [one for one in ids[:shots] if str(one) not in known]
    if unknown:
        raise ValueError(f'{where}: {unknown[0]!r} is the id of none of the {len(pool)} items of the pool')
    return [known[str(one)] for one in ids[:shots]]
