"""The plots of a set's statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

INK, BAR = '#1c2024', '#3b7dd8'


def draw_plots(statistics: dict[str, Any], folder: Path) -> list[Path]:
    """Draws verbs and nouns, lengths, languages and capabilities as PNG files.

    Args:
        statistics: see :func:`~mmgpt.syphus.statistics.statistics`.
        folder: of the files.

    Returns:
        their paths.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / name, dpi=110)
        pyplot.close(figure)
        drawn.append(folder / name)

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 4.5))
    for axis, name in zip(axes, ('verbs', 'nouns')):
        _bars(axis, dict(list(statistics[name].items())[:15]), f'{name} of the instructions')
    save(figure, 'verbs_and_nouns.png')

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3))
    for axis, name in zip(axes, ('instruction', 'answer')):
        counts = {int(words): count for words, count in statistics['words'][name].items()}
        axis.bar(list(counts), list(counts.values()), width=0.9, color=BAR)
        axis.set(title=f'words of an {name}', ylabel='pairs')
        axis.spines[['top', 'right']].set_visible(False)
    save(figure, 'lengths.png')

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3))
    _bars(axes[0], {code: counts['kept'] for code, counts in statistics['languages'].items()}, 'pairs by language')
    _bars(axes[1], statistics['capabilities'], 'pairs by capability')
    save(figure, 'languages_and_capabilities.png')
    return drawn


def _bars(axis: Any, counts: dict[str, int], title: str) -> None:
    names = list(counts)[::-1]
    axis.barh(names, [counts[name] for name in names], color=BAR)
    axis.set_title(title, color=INK)
    axis.spines[['top', 'right']].set_visible(False)
    if not any(counts.values()):
        axis.set_xlim(0, 1)
