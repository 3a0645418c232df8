"""A page that shows what a run has made: figures, samples of what was kept and dropped, plots; nothing to fetch."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmgpt.data.html_page import fill_page
from mmgpt.data.whole_file import whole_file
from mmgpt.syphus.stages.filter import KEPT
from mmgpt.syphus.state import State

SAMPLES = 12  # of what was kept, of what each filter dropped, of each language

_SPREAD = '(({0} * 2654435761) >> 16) & 65535'  # an order that looks like chance and is the same each time
_UNREAD = 'SELECT items.id, reason, text FROM fragments JOIN items ON items.n = fragments.n LIMIT ?'
_TRANSLATED = (
    'SELECT t.language, p.instruction, p.answer, t.instruction, t.answer, t.verdict, t.detail '
    'FROM translations t JOIN pairs p ON p.id = t.pair WHERE t.pair IN '
    f'(SELECT DISTINCT pair FROM translations ORDER BY {_SPREAD.format("pair")} LIMIT 3) '
    'ORDER BY t.pair, t.language'
)


def write_report(
    folder: Path, state: State, summary: dict[str, Any], statistics: dict[str, Any], run: dict[str, Any]
) -> Path:
    """Writes ``report.html`` into the work dir.

    Args:
        folder: the work dir, with its plots.
        state: where samples are taken from.
        summary, statistics, run: as for the data card.
    """
    plots = [base64.b64encode(path.read_bytes()).decode() for path in sorted((folder / 'plots').glob('*.png'))]
    shown = ('capabilities', 'languages', 'unique_instructions', 'files')
    data = {
        'run': run,
        'summary': summary,
        'statistics': {name: statistics[name] for name in shown},
        'kept': _samples(state, KEPT),
        'dropped': {name: _samples(state, name) for name in run['filters']},
        'unread': state.base.execute(_UNREAD, (SAMPLES,)).fetchall(),
        'reasons': state.tally('SELECT reason, count(*) FROM fragments GROUP BY 1 ORDER BY 2 DESC LIMIT 20'),
        'translations': state.base.execute(_TRANSLATED).fetchall(),
        'plots': plots,
    }
    path = folder / 'report.html'
    with whole_file(path) as partial:
        partial.write_text(styled_page('report.html', f'{run["name"]}: report', data), encoding='utf-8')
    return path


def styled_page(name: str, title: str, data: Any) -> str:
    """A page of this package with its style, title and data."""
    pages = files('mmgpt.syphus').joinpath('pages')
    page, style = (pages.joinpath(file).read_text(encoding='utf-8') for file in (name, 'style.css'))
    return fill_page(page.replace('{{style}}', style), title, data)


def _samples(state: State, verdict: str) -> list[list[str]]:
    """Pairs that got a verdict, spread over the whole set, the same ones each time."""
    query = (
        'SELECT items.id, instruction, answer, detail, annotation FROM pairs JOIN items ON items.n = pairs.n '
        f'WHERE pairs.id IN (SELECT id FROM pairs WHERE verdict = ? ORDER BY {_SPREAD.format("id")} LIMIT ?)'
    )
    rows = state.base.execute(query, (verdict, SAMPLES)).fetchall()
    return [[*row[:4], row[4][:1500]] for row in rows]
