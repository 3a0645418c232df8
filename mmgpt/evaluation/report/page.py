"""The page of an evaluation: figures, curve, groups, questions with pictures and what was answered; and its table."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from mmgpt.data.picture_bytes import data_url, encoded
from mmgpt.evaluation.items import Item
from mmgpt.evaluation.published import label
from mmgpt.evaluation.report.comparison import Comparison
from mmgpt.evaluation.report.run import Run
from mmgpt.evaluation.tasks.base import EvaluationTask

SHOWN_PIXELS = 160  # of the longer side of a picture
SHOWN_FRAMES = 8  # of a video


def page(
    run: Run,
    task: EvaluationTask | None = None,
    comparison: Sequence[Comparison] = (),
    against: Run | None = None,
    examples: int = 12,
) -> str:
    """The page of a run, one file without links to anything.

    Args:
        run: the evaluation.
        task: its task, for the pictures; None: without.
        comparison: with ``against``, see :func:`~mmgpt.evaluation.report.comparison.compare`.
        against: the other run.
        examples: so many of the best and of the worst answers are drawn, the same ones each time, and shown.
    """
    from jinja2 import Environment, StrictUndefined

    source = files('mmgpt.evaluation.report').joinpath('page.html').read_text(encoding='utf-8')
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string(source).render(
        run=run,
        metrics=run.metrics,
        table=_table(run.metrics),
        curve=_curve(run, against),
        groups=_groups(run.metrics),
        shown=_examples(run, task, examples),
        comparison=comparison,
        against=against,
        settings=json.dumps(run.metrics['settings'], indent=1, ensure_ascii=False),
    )


def markdown(run: Run, comparison: Sequence[Comparison] = (), against: Run | None = None) -> str:
    """The figures of a run as a Markdown table, published ones below, and the comparison."""
    head, *rows = _table(run.metrics)
    lines = [f'**{run.metrics["task"]}**, {run.metrics["model"]}', '']
    lines += ['| ' + ' | '.join(head) + ' |', '|' + '---|' * len(head)]
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    if comparison:
        lines += ['', f'Against {against.metrics["model"]} ({against.folder}), {run.metrics["main"]}:', '']
        lines += ['| shots | questions | here | there | difference, 95 % interval | p |', '|---|---|---|---|---|---|']
        lines += [
            f'| {c.shots} | {c.questions} | {c.here:.2f} | {c.there:.2f} | {c.difference:+.2f} '
            f'[{c.interval[0]:+.2f}, {c.interval[1]:+.2f}] | {c.p:.4f} |'
            for c in comparison
        ]
    return '\n'.join(lines) + '\n'


def _table(metrics: Mapping[str, Any]) -> list[list[str]]:
    rows = metrics['rows']
    names = list(dict.fromkeys(name for row in rows for name in row['figures']))
    table = [['figure', *(f'{row["shots"]} shots' for row in rows)]]
    for name in names:
        values = [row['figures'].get(name) for row in rows]
        table.append([name, *(f'{np.mean(few):.2f} ({np.std(few):.2f})' if few else '' for few in values)])
    for published in metrics.get('published', []):
        cells = [published['figures'].get(str(row['shots'])) for row in rows]
        if any(cell is not None for cell in cells):
            table.append(
                [
                    f'{label(published, metrics["main"])} (published)',
                    *('' if cell is None else f'{cell:g}' for cell in cells),
                ]
            )
    return table


def _groups(metrics: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """For each kind of group a table of its members over shots."""
    rows = metrics['rows']
    kinds: dict[str, dict[str, None]] = {}
    for row in rows:
        for kind, members in row['groups'].items():
            kinds.setdefault(kind, {}).update(dict.fromkeys(members))
    tables = {}
    for kind, members in kinds.items():
        tables[kind] = [[kind, *(f'{row["shots"]} shots' for row in rows)]]
        for name in members:
            values = [row['groups'].get(kind, {}).get(name) for row in rows]
            tables[kind].append([name, *('' if value is None else f'{value:.2f}' for value in values)])
    return tables


def _curve(run: Run, against: Run | None) -> str | None:
    """The main figure over shots as a picture; None where there is one number of shots."""
    rows = [row for row in run.metrics['rows'] if row['trials']]
    if len(rows) < 2:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout='constrained')
    axes = figure.subplots()
    for each in (run, against):
        known = [row for row in each.metrics['rows'] if row['trials']] if each is not None else []
        if known:
            places, means, errors = ([row[key] for row in known] for key in ('shots', 'mean', 'stddev'))
            axes.errorbar(places, means, errors, marker='o', capsize=3, label=str(each.metrics['model']))
    for published in run.metrics.get('published', []):
        points = sorted((int(shots), value) for shots, value in published['figures'].items() if value is not None)
        if len(points) > 1 and published['metric'] == run.metrics['main']:
            name = label(published, run.metrics['main'])
            axes.plot(*zip(*points), '--', linewidth=1, alpha=0.6, label=name)
    axes.set(xlabel='shots', ylabel=run.metrics['main'], title=run.metrics['task'])
    axes.grid(alpha=0.3)
    axes.legend(fontsize='xx-small')
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=120)
    return data_url(file.getvalue())


def _examples(run: Run, task: EvaluationTask | None, count: int) -> dict[str, list[dict[str, Any]]]:
    """Questions of the greatest number of shots, by what their answers were worth."""
    most = max(row['shots'] for row in run.metrics['rows'])
    lines = [line for line in run.lines if line['shots'] == most]
    known = [line for line in lines if line.get('score') is not None]
    rng = random.Random(0)
    if not known:
        kinds = {'answers': rng.sample(lines, min(count, len(lines)))}
    else:
        worths = sorted({line['score'] for line in known})
        middle = (worths[0] + worths[-1]) / 2
        split = {
            'right': [line for line in known if line['score'] > middle or worths[0] == worths[-1] > 0],
            'wrong': [line for line in known if line['score'] <= middle and not worths[0] == worths[-1] > 0],
        }
        kinds = {name: rng.sample(few, min(count, len(few))) for name, few in split.items() if few}
    queries = {} if task is None else {repr(item.id): item for item in task.queries}
    pool = {} if task is None or not most else {repr(item.id): item for item in task.pool}
    return {name: [_example(line, queries, pool, task) for line in few] for name, few in kinds.items()}


def _example(
    line: Mapping[str, Any], queries: Mapping[str, Item], pool: Mapping[str, Item], task: EvaluationTask | None
) -> dict[str, Any]:
    query = queries.get(repr(line['id']))
    context = [pool[repr(id)] for id in line.get('demonstrations', []) if repr(id) in pool]
    return {
        'line': line,
        'media': [] if query is None else _pictures(query, task),
        'context': [
            {'question': item.question, 'answer': item.answer, 'media': _pictures(item, task)} for item in context
        ],
        'references': _short(line.get('references')),
    }


def _pictures(item: Item, task: EvaluationTask) -> list[list[str]]:
    """Of each medium its frames as small pictures; one that cannot be opened is left out."""
    media = []
    for medium in item.media:
        frames = []
        for frame in medium.frames[:SHOWN_FRAMES]:
            try:
                picture = task.open(frame)
            except (OSError, ValueError):
                continue
            picture.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
            frames.append(data_url(encoded(picture, 'jpeg', quality=85), 'jpeg'))
        media.append(frames)
    return media


def _short(references: Any) -> str:
    if isinstance(references, list) and references and isinstance(references[0], Mapping):
        references = list(dict.fromkeys(str(each.get('answer', each)) for each in references))
    if isinstance(references, list):
        return ' · '.join(map(str, references))
    return '' if references is None else str(references)
