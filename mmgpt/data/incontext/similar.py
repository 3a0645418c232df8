"""Context that is similar to the sample: by features of its pictures (RICES) or of its text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmgpt.data.cache import mapped_array
from mmgpt.data.incontext.base import Choice
from mmgpt.data.incontext.pool import frames_of, kept, media_of, samples_of
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.sources import Source
from mmgpt.registry import RETRIEVERS
from mmgpt.structures import Sample

BLOCK = 32_000_000  # similarities that are held at a time


@RETRIEVERS.register_module()
class SimilarInstructions(Choice):
    """The samples most similar to one, the most similar last (RICES of Flamingo, arXiv 2204.14198 appendix A.2).

    Similar are those whose features have the largest cosine; those that show the same media are left out. The ``k``
    nearest of each sample are found once, by comparing all with all, and kept on disk.

    Args:
        num: see :class:`Choice`.
        pick: 'last' are the nearest, 'random' some of the ``k`` nearest.
        features: a folder that ``tools/extract_features.py`` wrote. None: the words of the questions, weighted by how
            rare they are (TF-IDF); needs scikit-learn.
        by: what the features' keys are: the ids of 'images', whose features a sample averages, or of samples ('id').
        k: how many are found of each sample.
    """

    def __init__(
        self,
        num: int | tuple[int, int],
        pick: Literal['random', 'last'] = 'last',
        features: str | Path | None = None,
        by: Literal['images', 'id'] = 'images',
        k: int = 10,
    ) -> None:
        super().__init__(num, pick)
        if pick == 'first':
            raise ValueError("pick must be 'random' or 'last' (the nearest stand last), got 'first'")
        if by not in ('images', 'id'):
            raise ValueError(f"by must be 'images' or 'id', got {by!r}")
        if k < self.bounds[1]:
            raise ValueError(f'k must be at least num: {k} neighbours are found, and {self.bounds[1]} may be wanted')
        self.features = None if features is None else Path(features)
        self.by, self.k = by, k
        self._folder: Path | None = None

    def bind(self, source: Source) -> SimilarInstructions:
        """The retriever for the samples of a source; the neighbours are found once and kept on disk.

        Raises:
            FileNotFoundError: there is no such folder of features.
            ValueError: it lacks a picture or sample.
        """
        files = [] if self.features is None else _feature_files(self.features)
        bound = copy.copy(self)
        parameters = [self.by, self.k, str(self.features)]
        bound._folder = kept(source, 'neighbour-table', lambda folder: self._make(source, folder), parameters, files)
        bound._load()
        return bound

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """See :class:`~mmgpt.data.incontext.base.Retriever`."""
        if self._folder is None:
            raise ValueError('SimilarInstructions knows no samples: call bind(source) first')
        place = self._ids.find(sample.id)
        if place is None:
            raise ValueError(f'{sample.id!r} is none of the samples whose neighbours were found')
        return self.choose([self._ids[int(other)] for other in self._neighbours[place] if other >= 0], rng)

    def _make(self, source: Source, folder: Path) -> None:
        ids, groups, described = [], [], []
        numbers: dict[Any, int] = {}
        rows = None if self.features is None else FeatureTable(self.features)
        for sample in samples_of(source):
            groups.append(numbers.setdefault(media_of(sample) or sample.id, len(numbers)))
            if rows is None:
                described.append(' '.join(turn.text for turn in sample.turns if turn.role == 'user'))
            else:
                described.append(rows.mean(frames_of(sample) if self.by == 'images' else [sample.id], sample))
            ids.append(sample.id)
        similarities = _words(described) if rows is None else _cosines(np.array(described))
        KeyIndex(ids).save(folder)
        np.save(folder / 'neighbours.npy', nearest(similarities, np.array(groups), self.k))

    def _load(self) -> None:
        self._ids, self._neighbours = KeyIndex.load(self._folder), mapped_array(self._folder / 'neighbours.npy')

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != '_neighbours'}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._folder is not None:
            self._load()


def nearest(similarities: Callable[[slice], np.ndarray], groups: np.ndarray, k: int) -> np.ndarray:
    """The most similar samples of each.

    Args:
        similarities: of some samples to all, (n, N).
        groups: (N,), samples of the same group are not compared.
        k: how many.

    Returns:
        (N, k) int32, the most similar last; -1 in front where there are fewer.
    """
    total = len(groups)
    found = np.full((total, k), -1, np.int32)
    step = max(1, BLOCK // max(1, total))
    for start in range(0, total, step):
        block = slice(start, min(start + step, total))
        scores = np.where(groups[block, None] == groups[None], -np.inf, similarities(block))
        kept = min(k, total)
        top = np.argpartition(scores, total - kept, axis=1)[:, total - kept :]
        values = np.take_along_axis(scores, top, 1)
        order = np.lexsort((-top, values), axis=1)  # of equally similar ones the first of the file is the nearest
        top, values = np.take_along_axis(top, order, 1), np.take_along_axis(values, order, 1)
        found[block, k - kept :] = np.where(values == -np.inf, -1, top)
    return found


def similar_pairs(folder: str | Path, among: Callable[[str], bool] = lambda key: True) -> Iterator[tuple[str, str]]:
    """Each key with the one that is most similar to it, by the cosine of their features.

    Two that are the most similar to each other are given once. Keys of equal features (the same picture twice) are
    no pair.

    Args:
        folder: of features, as ``tools/extract_features.py`` writes them.
        among: the keys that take part.

    Raises:
        FileNotFoundError: there is no such folder of features.
    """
    features = FeatureTable(folder)
    places = np.array([place for place, key in enumerate(features.keys) if among(key)], np.int64)
    if not len(places):
        return
    rows = features.rows[places]
    groups = np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)
    other = nearest(_cosines(rows.astype(np.float32)), groups, 1)[:, 0]
    for place, found in enumerate(other):
        if found >= 0 and not (found < place and other[found] == place):
            yield features.keys[int(places[place])], features.keys[int(places[found])]


def write_features(folder: str | Path, batches: Iterable[tuple[list[str], np.ndarray]]) -> int:
    """Writes features by key: ``keys.arrow``, ``key_order.npy`` and ``features.npy`` (N, D) float16, rows of length 1.

    Args:
        folder: is made.
        batches: keys and their features (n, D), of any length but 0.

    Returns:
        How many were written.

    Raises:
        ValueError: there are none; what the folder has stays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keys: list[str] = []
    rows = []
    for names, features in batches:
        keys += names
        rows.append(_unit(np.asarray(features, np.float32)).astype(np.float16))
    if not keys:
        raise ValueError(f'{folder}: there is nothing that features could be written of')
    (folder / 'keys.arrow').unlink(missing_ok=True)  # else an end between the two would leave the keys of others
    np.save(folder / 'features.npy', np.concatenate(rows))
    KeyIndex(keys).save(folder)
    return len(keys)


def _feature_files(folder: Path) -> list[Path]:
    files = [folder / 'features.npy', folder / 'keys.arrow']
    if missing := [str(file) for file in files if not file.is_file()]:
        raise FileNotFoundError(f'{", ".join(missing)}: not there; tools/extract_features.py writes features')
    return files


class FeatureTable:
    """Features by key, as :func:`write_features` wrote them.

    Args:
        folder: of the features.

    Raises:
        FileNotFoundError: there is no such folder of features.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        _feature_files(self.folder)
        self.keys, self.rows = KeyIndex.load(self.folder), mapped_array(self.folder / 'features.npy')

    def find(self, key: str) -> np.ndarray | None:
        """The feature (D,) of a key, of length 1; None where it has none."""
        place = self.keys.find(key)
        return None if place is None else self.rows[place].astype(np.float32)

    def mean(self, keys: list[str], sample: Sample) -> np.ndarray:
        """The feature (D,) of several keys, those of a sample."""
        if not keys:
            raise ValueError(f'{sample.id!r} shows no pictures, which features are compared of')
        places = [self.keys.find(key) for key in keys]
        if None in places:
            missing = keys[places.index(None)]
            raise ValueError(
                f'{self.folder} has no features of {missing!r} (of {sample.id!r}): extract them anew, or, where it '
                'could not be read, take it out of the data (tools/verify_dataset.py --fix)'
            )
        return _unit(self.rows[places].astype(np.float32).mean(0, keepdims=True))[0]


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _cosines(rows: np.ndarray) -> Callable[[slice], np.ndarray]:
    return lambda block: rows[block] @ rows.T


def _words(texts: list[str]) -> Callable[[slice], np.ndarray]:
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as error:
        raise ImportError('similarity of words needs scikit-learn: pip install "mmgpt[demo]"') from error
    rows = TfidfVectorizer(sublinear_tf=True, dtype=np.float32, token_pattern=r'(?u)\w+').fit_transform(texts)
    return lambda block: (rows[block] @ rows.T).toarray()
