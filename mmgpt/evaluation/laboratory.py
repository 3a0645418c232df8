"""What of its context does a model use? One evaluation under every control, and with similar demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmgpt.data.image_stores import FolderImages
from mmgpt.data.incontext import write_features
from mmgpt.evaluation.controls import CONTROLS
from mmgpt.evaluation.runner import Evaluation
from mmgpt.inference.features import image_features

OTHER_IMAGES = {'previous': 'all_previous', 'next': 'all_next', 'all_previous': 'previous', 'all_next': 'next'}
INTACT, RICES, ATTEND = 'intact', 'rices', 'attend'
CONDITIONS = (INTACT, *CONTROLS, RICES, ATTEND)


def probe(
    evaluation: Mapping[str, Any],
    model: Any,
    processor: Any,
    out: str | Path,
    conditions: Sequence[str] = CONDITIONS,
    features: str | None = None,
    limit: int | None = None,
) -> dict[str, dict[str, Any]]:
    """The metrics of an evaluation under each condition, and ``context.png``, the main figure over shots.

    ``intact`` is the evaluation as it is, ``rices`` shows the pictures that are most similar to the query's,
    ``attend`` lets the text see all pictures before it instead of the last one (or the other way round); the others
    spoil the demonstrations, see :mod:`mmgpt.evaluation.controls`.

    Args:
        evaluation: config of an :class:`~mmgpt.evaluation.Evaluation`.
        model: a ``Flamingo``.
        processor: its processor.
        out: a folder; each condition has one in it, and goes on where it was.
        conditions: names of :data:`CONDITIONS`.
        features: for ``rices``, a folder that ``tools/extract_features.py`` wrote. None: of the task's own ``images``
            by the model's vision encoder.
        limit: so many queries.

    Raises:
        ValueError: a condition is unknown, or ``rices`` has no features.
    """
    unknown = [name for name in conditions if name not in CONDITIONS]
    if unknown:
        raise ValueError(f'there is no condition {unknown[0]!r}; there are {", ".join(CONDITIONS)}')
    out = Path(out)
    measured = {}
    for name in conditions:
        print(f'{name}:', flush=True)
        (out / name).mkdir(parents=True, exist_ok=True)
        config = {key: value for key, value in evaluation.items() if key != 'type'}
        if name in CONTROLS:
            config['control'] = name
        elif name == RICES:
            config['demonstrations'] = dict(type='Rices', features=features or _described(config, model, out))
        with attending(model, OTHER_IMAGES[model.config.attend] if name == ATTEND else model.config.attend):
            measured[name] = Evaluation(**config)(model, processor, out / name, limit)
    draw(measured, out / 'context.png')
    return measured


@contextmanager
def attending(model: Any, attend: str) -> Iterator[None]:
    """The model sees pictures by another ``attend`` within the context."""
    before = model.config.attend
    model.config.attend = attend
    try:
        yield
    finally:
        model.config.attend = before


def table(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table: each condition by shots, and how often an answer could be and was copied."""
    first = next(iter(measured.values()))
    shots = [row['shots'] for row in first['rows']]
    lines = [
        f'| {first["main"]} | ' + ' | '.join(f'{number} shots' for number in shots) + ' | covered | copied |',
        '|---|' + '---|' * (len(shots) + 2),
    ]
    for name, metrics in measured.items():
        rows = metrics['rows']
        cells = [f'{row["mean"]:.1f}' for row in rows]
        for figure in ('covered', 'copied'):
            values = rows[-1]['figures'].get(figure, [])
            cells.append(f'{sum(values) / len(values):.1f}' if values else '')
        lines.append(f'| {name.replace("_", " ")} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def draw(measured: Mapping[str, Mapping[str, Any]], path: str | Path) -> None:
    """Draw the main figure over shots, a line for each condition."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 4.2), layout='constrained')
    axes = figure.subplots()
    for name, metrics in measured.items():
        rows = [row for row in metrics['rows'] if row['trials']]
        if rows:
            places, means, errors = ([row[key] for row in rows] for key in ('shots', 'mean', 'stddev'))
            style = '-' if name in (INTACT, RICES) else '--'
            axes.errorbar(places, means, errors, fmt=style, marker='o', capsize=3, label=name.replace('_', ' '))
    first = next(iter(measured.values()))
    axes.set(xlabel='shots', ylabel=first['main'], title=f'{first["task"]}: what of the context is used')
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small', loc='upper left', bbox_to_anchor=(1.01, 1))
    figure.savefig(path, dpi=110)


def _described(config: Mapping[str, Any], model: Any, out: Path) -> str:
    """Features of the task's pictures by the model's own vision encoder."""
    images = getattr(Evaluation(**config).task, 'images', None)
    if not isinstance(images, Path) or not images.is_dir():
        raise ValueError(
            f'{RICES!r} needs features: write them with tools/extract_features.py CONFIG --images FOLDER --out DIR'
        )
    folder = out / 'features'
    write_features(folder, image_features(model.vision_encoder, FolderImages(str(images))))
    return str(folder)
