"""Naming letters of scripts that were never trained on: accuracy by the number of names, and by script.

    python benchmarks/characters.py work_dirs/characters_demo/hf --plot docs/images/characters.png

One demonstration of each name, or two; beside the model's figures those of the nearest neighbour on raw pixels, on the
same episodes. In the rows of one script all letters of an episode are of that script.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mmgpt.data.builders.character_pictures import FACES, HELD_OUT_SCRIPTS, held_out_letters
from mmgpt.evaluation.answering import answer
from mmgpt.evaluation.character_baseline import CharacterBaseline
from mmgpt.evaluation.character_episodes import naming
from mmgpt.hub.io import load_folder

SHAPES = ((2, 1), (3, 1), (5, 1), (7, 1), (10, 1), (2, 2), (3, 2), (5, 2))  # names, demonstrations of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', help='a model folder')
    parser.add_argument('--episodes', type=int, default=500, help='of each kind')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--plot', type=Path, help='a picture to write')
    parser.add_argument('--json', type=Path, help='a file to write the rows to')
    args = parser.parse_args()
    model, processor = load_folder(args.model)
    rows = []
    for scripts in (HELD_OUT_SCRIPTS, *((script,) for script in HELD_OUT_SCRIPTS)):
        for shape in SHAPES if scripts == HELD_OUT_SCRIPTS else ((5, 1),):
            rows.append(row(model, processor, scripts, shape, args.episodes, args.seed))
            print('{scripts:28} {ways:2} names {each} each: {model:.3f}, neighbour {neighbour:.3f}'.format(**rows[-1]))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')
    if args.plot:
        draw([row for row in rows if row['scripts'] == ' '.join(HELD_OUT_SCRIPTS)], args.plot)


def row(model, processor, scripts, shape, episodes, seed) -> dict:
    """Model and nearest neighbour on the same episodes."""
    rng, letters = np.random.default_rng(seed), held_out_letters(scripts)
    asked = [naming(letters, range(len(FACES)), rng, *shape) for _ in range(episodes)]
    given = answer(model, processor, [episode.messages() for episode in asked])
    right = np.mean([text == episode.expected for text, episode in zip(given, asked, strict=True)])
    neighbour = CharacterBaseline().accuracy('naming/', asked)
    return dict(scripts=' '.join(scripts), ways=shape[0], each=shape[1], model=float(right), neighbour=neighbour)


def draw(rows, path: Path) -> None:
    """Accuracy over the number of names."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.2), layout='constrained')
    axes = figure.subplots()
    for each, style in ((1, '-'), (2, '--')):
        shown = [row for row in rows if row['each'] == each]
        ways = [row['ways'] for row in shown]
        times = 'one demonstration each' if each == 1 else 'two'
        axes.plot(ways, [row['model'] for row in shown], 'o' + style, color='C0', label=f'model, {times}')
        axes.plot(ways, [row['neighbour'] for row in shown], 's' + style, color='C7', label=f'neighbour, {times}')
    axes.set(xlabel='names', ylabel='accuracy', title='Naming Armenian, Georgian and Greek letters')
    axes.grid(alpha=0.3)
    figure.legend(loc='outside lower center', ncols=2)
    figure.savefig(path, dpi=110)


if __name__ == '__main__':
    main()
