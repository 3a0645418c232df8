"""Published figures, to be shown beside one's own. They are data: ``published.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


@cache
def rows() -> tuple[dict[str, Any], ...]:
    """All published figures: ``{'dataset', 'metric', 'model', 'figures': {shots: value}, 'source', …}``.

    Those of few-shot protocols have ``demonstrations``, 'random' or 'RICES'; some have ``stddev``.
    """
    data = json.loads(Path(__file__).with_name('published.json').read_text(encoding='utf-8'))
    return tuple({**row, 'source': data['sources'][row['source']]} for row in data['rows'])


def beside(dataset: str) -> list[dict[str, Any]]:
    """The published figures on a data set.

    Example:
        >>> [row['model'] for row in beside('flickr30k')][0]
        'OpenFlamingo-9B'
    """
    return [row for row in rows() if row['dataset'] == dataset]


def label(row: Mapping[str, Any], main: str) -> str:
    """What stands beside a row: the model, its demonstrations, and the metric where it is not the ``main`` one.

    Example:
        >>> label({'model': 'Otter-Image', 'metric': 'perception'}, 'total')
        'Otter-Image, perception'
    """
    parts = [row['model'], row.get('demonstrations'), None if row['metric'] == main else row['metric']]
    return ', '.join(part for part in parts if part)
