"""``XX_train.json``: the ids to train on and the contexts of each, by the heuristics of MIMIC-IT (arXiv 2306.05425)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmgpt.data.incontext import Retriever
from mmgpt.data.sources import Source


class Heuristic(NamedTuple):
    """How the contexts of a subset are found.

    Args:
        retriever: its config; None = no context.
        published: what the published converter did with them, as options of :func:`train_contexts`.
    """

    retriever: dict[str, Any] | None
    published: dict[str, Any] = {}


_SAME_MEDIA = {'type': 'SharedMedia'}
_SIMILAR = {'type': 'SimilarInstructions', 'num': 10}
HEURISTICS: dict[str, Heuristic] = {
    'LACR_I2I': Heuristic(_SIMILAR, {'exactly': 2, 'share': 0.5}),  # by --features of pictures
    'LACR_T2T': Heuristic(_SIMILAR, {'exactly': 2, 'share': 0.5}),  # by words, or by --features of texts
    'LACONV': Heuristic({'type': 'EarlierRounds'}, {'exactly': 2, 'final_rounds': True}),
    'LADD': Heuristic(None),
    'SD': Heuristic(_SAME_MEDIA),
    'CGD': Heuristic(_SAME_MEDIA),
    'SN': Heuristic({**_SAME_MEDIA, 'pattern': r'scene\d{4}_\d{2}'}),
    'DC': Heuristic(_SAME_MEDIA),
    'VST': Heuristic(_SAME_MEDIA),
    'TVC': Heuristic(_SAME_MEDIA),
    'E4D': Heuristic(_SAME_MEDIA),
}


def train_contexts(
    source: Source,
    retriever: Retriever | None,
    exactly: int | None = None,
    share: float = 1.0,
    final_rounds: bool = False,
    unused: bool = False,
    seed: int = 0,
) -> dict[str, list[str]]:
    """The contexts of every sample that is to be trained on.

    Args:
        source: the instructions.
        retriever: chooses the contexts, the most telling last; None = none. Ids that the source does not have are left
            out.
        exactly: so many contexts, the last ones; fewer are repeated, and a sample without any is left out.
        share: of the samples, drawn; the others are left out.
        final_rounds: of those that share their pictures only the last one is trained on, the rounds before it being
            its context.
        unused: what was the context of an earlier sample is not trained on.
        seed: of what is drawn.
    """
    if not 0 < share <= 1:
        raise ValueError(f'share must be above 0 and at most 1, got {share}')
    if exactly is not None and exactly < 1:
        raise ValueError(f'exactly must be at least 1 or None, got {exactly}')
    if hasattr(retriever, 'bind'):
        retriever = retriever.bind(source)
    rng = np.random.default_rng(seed)
    places: dict[Any, int] = {}  # samples are read again by their places: millions of them would take gigabytes
    for index in range(len(source)):
        sample = source[index]
        places[(_conversation(sample.id), sample.turns[0].media) if final_rounds else sample.id] = index
    found: dict[str, list[str]] = {}
    taken: set[str] = set()
    for index in places.values():
        sample = source[index]
        if (share < 1 and rng.random() >= share) or (unused and sample.id in taken):
            continue
        ids = [] if retriever is None else [id for id in retriever(sample, rng) if _exists(source, id)]
        if exactly is not None:
            if not ids:
                continue
            ids = (ids[-exactly:] * exactly)[:exactly]
        found[sample.id] = ids
        taken.update(ids)
    return found


def write_train_json(path: str | Path, contexts: dict[str, list[str]]) -> None:
    """Writes ``XX_train.json`` beside its place and renames it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    lines = (f'{json.dumps(id)}: {json.dumps(ids)}' for id, ids in contexts.items())
    try:
        partial.write_text('{\n' + ',\n'.join(lines) + '\n}\n', encoding='utf-8')
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _conversation(id: str) -> str:
    """The part of an id that the rounds of a conversation share, where they are numbered apart from it."""
    match = re.fullmatch(r'(.+_INS_.+)_\d+', id)
    return match.group(1) if match else ''


def _exists(source: Source, id: str) -> bool:
    try:
        source.find(id)
    except KeyError:
        return False
    return True
