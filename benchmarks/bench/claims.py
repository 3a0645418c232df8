"""What the scripts of ``benchmarks/claims`` share: short tunings from one base, their scores, a table and plots."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs' / 'otter_demo.py'

Scores = dict[str, list[float]]  # by the name of a figure what each question gave: 1 and 0 for right and wrong
Score = Callable[[Any, Any], Scores]  # of a model and its processor


def parse(doc: str, claim: str, iterations: int, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of a script.

    Args:
        doc: what it does.
        claim: its name.
        iterations: of a tuning.
        argv: the arguments; None = those of the process.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--base', default='work_dirs/otter_demo/hf', help='what is tuned; default: %(default)s')
    parser.add_argument('--data', default='data/otter_demo', help="the demo's data set; default: %(default)s")
    parser.add_argument('--out', type=Path, default=Path('work_dirs/claims') / claim, help='default: %(default)s')
    parser.add_argument('--seeds', type=int, default=3, metavar='N', help='tunings of each kind; default: %(default)s')
    parser.add_argument('--iterations', type=int, default=iterations, help='of a tuning; default: %(default)s')
    parser.add_argument('--questions', type=int, default=120, help='of each kind; default: %(default)s')
    args = parser.parse_args(argv)
    if min(args.seeds, args.iterations, args.questions) < 1:
        parser.error('--seeds, --iterations and --questions must be at least 1')
    for folder, command in ((args.base, 'python tools/train.py configs/otter_demo.py'), (args.data, 'the same')):
        if not Path(folder).is_dir():
            parser.error(f'there is no folder {folder}; {command} makes it')
    args.claim = claim
    return args


class Study:
    """The tunings of a claim, each kept in ``OUT/results.json`` when it is done: a second call goes on from there.

    Args:
        args: as ``parse`` gives them.

    Raises:
        ValueError: the folder holds results of other settings.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.out, self.path = args.out, args.out / 'results.json'
        self.out.mkdir(parents=True, exist_ok=True)
        settings = {'claim': args.claim, 'iterations': args.iterations, 'questions': args.questions}
        self.results: dict[str, Any] = {'settings': settings, 'runs': []}
        if self.path.is_file():
            self.results = json.loads(self.path.read_text(encoding='utf-8'))
            if self.results['settings'] != settings:
                raise ValueError(
                    f'{self.path} holds results of {self.results["settings"]}, not of {settings}: name another --out'
                )

    def run(self, arm: str, seed: int, tuned: Callable[[], list[dict[str, Any]]]) -> None:
        """Tunes, unless this arm and seed are there already.

        Args:
            arm: the name of what differs.
            seed: of weights, order and draws.
            tuned: does it, and gives the curve of ``tune``.
        """
        if any((run['arm'], run['seed']) == (arm, seed) for run in self.results['runs']):
            return
        start = time.perf_counter()
        curve = tuned()
        self.results['runs'].append({'arm': arm, 'seed': seed, 'seconds': time.perf_counter() - start, 'curve': curve})
        self.path.write_text(json.dumps(self.results) + '\n', encoding='utf-8')
        last = {name: round(float(np.mean(each)), 3) for name, each in curve[-1]['scores'].items()}
        print(f'{arm}, seed {seed}: {self.results["runs"][-1]["seconds"]:.0f} s, {last}', flush=True)

    def finish(self, draw: Callable[[Mapping[str, Any], Path], None]) -> int:
        """Writes ``OUT/table.md`` and ``OUT/CLAIM.png``, prints the table, and gives the exit code 0."""
        text = table(self.results)
        (self.out / 'table.md').write_text(text + '\n', encoding='utf-8')
        draw(self.results, self.out / f'{self.results["settings"]["claim"]}.png')
        print(f'\n{text}')
        return 0


def tune(
    args: argparse.Namespace,
    sources: Sequence[Mapping[str, Any]],
    seed: int,
    score: Score,
    score_at: Iterable[int] = (),
    batch_size: int = 32,
    changes: Mapping[str, Any] | None = None,
    config: Path = DEMO,
) -> list[dict[str, Any]]:
    """Tunes the base and scores it on the way.

    Args:
        args: as ``parse`` gives them.
        sources: of the data.
        seed: of order, draws and new weights.
        score: called with the model and its processor.
        score_at: iterations after which it is; the last one always is. 0 = before the tuning.
        batch_size: samples of a step.
        changes: of the config, ``key.of.value`` to value.
        config: what is changed.

    Returns:
        For each scoring ``iteration``, ``loss`` (the mean since the last one; None before the tuning) and ``scores``.

    Raises:
        InterruptedError: a signal ended the tuning before its last iteration.
    """
    from mmgpt.engine.build import build_parts
    from mmgpt.engine.runner import Runner

    cfg = configured(args, sources, seed, batch_size, changes or {}, config)
    parts = build_parts(cfg)
    runner = Runner(parts.model, parts.processor, parts.dataloader, cfg)
    scoring = scoring_hook(score, {*score_at, args.iterations})
    runner.register_hook(scoring, priority='LOWEST')
    runner.train()
    if runner.stopped_by:
        raise InterruptedError(f'stopped by {runner.stopped_by} after iteration {runner.iter}; a second call goes on')
    return scoring.curve


def configured(
    args: argparse.Namespace,
    sources: Sequence[Mapping[str, Any]],
    seed: int,
    batch_size: int,
    changes: Mapping[str, Any],
    config: Path,
) -> Any:
    """The config of a tuning: the demo's model from the base's weights, all parts at one learning rate."""
    from mmgpt.engine.config import load_config

    cfg = load_config(config)
    cfg.load_from = args.base
    cfg.tokenizer = dict(path=args.base)
    cfg.train_dataloader = dict(
        batch_size=batch_size,
        num_workers=0,
        dataset=dict(sources=[dict(source) for source in sources], max_seq_len=256),
        sampler=dict(type='MixtureSampler'),
    )
    cfg.optim_wrapper.lr_factors = None
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.02, end=min(10, args.iterations)),
        dict(type='CosineAnnealingLR', begin=min(10, args.iterations), eta_min_ratio=0.02),
    ]
    cfg.train_cfg.max_iters = args.iterations
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(args.out / 'run')
    cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    unneeded = ('checkpoint', 'progress', 'samples', 'curves', 'gates')
    cfg.default_hooks = {**cfg.default_hooks, **dict.fromkeys(unneeded)}
    cfg.merge_from_dict(dict(changes))
    return cfg


def scoring_hook(score: Score, score_at: set[int]) -> Any:
    """A hook that calls ``score`` after some iterations and keeps what it gives in ``curve``."""
    from mmengine.hooks import Hook

    from mmgpt.engine.module import evaluating
    from mmgpt.engine.state import untouched_rng

    class ScoringHook(Hook):
        def __init__(self) -> None:
            self.curve: list[dict[str, Any]] = []
            self.losses: list[float] = []

        def before_train(self, runner: Any) -> None:
            self.take(runner, 0)

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            sums = outputs['sums']
            self.losses.append((sums.loss_sum / sums.weight_sum).item())
            self.take(runner, runner.iter + 1)

        def take(self, runner: Any, iteration: int) -> None:
            if iteration not in score_at:
                return
            with untouched_rng(), evaluating(runner.bare_model):
                scores = score(runner.bare_model, runner.processor)
            loss = float(np.mean(self.losses)) if self.losses else None
            self.losses = []
            self.curve.append({'iteration': iteration, 'loss': loss, 'scores': scores})

    return ScoringHook()


OTTERS_PARTS = {  # what Otter trains: the towers, vision encoder and language model, are frozen but for the embeddings
    'model.trainable': ['resampler', 'gated_blocks'],
    'model.train_embeddings': 'all',
}
LORA = {  # MultiModal-GPT's, as in the second demo
    'model.trainable': [],
    'model.adapter': dict(
        type='LoRA',
        slots=dict(
            self_attention=dict(r=18, alpha=36),
            cross_attention=dict(r=8, alpha=16),
            gated_feedforward=dict(r=8, alpha=16),
        ),
    ),
    'optim_wrapper.optimizer.lr': 4e-3,
    'optim_wrapper.optimizer.weight_decay': 0.0,
}


def digit_pictures(args: argparse.Namespace) -> dict[str, Any]:
    """The demo's entry of a source for pictures of single digits, with its augmentation."""
    from mmgpt.engine.config import load_config

    return {**load_config(DEMO).digits, 'images': f'{args.data}/DG.parquet'}


# What came out


def arms(results: Mapping[str, Any]) -> list[str]:
    """The names of what differs, in the order in which they were run."""
    return list(dict.fromkeys(run['arm'] for run in results['runs']))


def figure(results: Mapping[str, Any], arm: str, name: str, place: int = -1) -> dict[str, Any]:
    """A figure of an arm over its seeds.

    Args:
        results: of a ``Study``.
        arm: which.
        name: of the score.
        place: of the scoring in the curve.

    Returns:
        ``mean``, ``deviation`` over the ``seeds`` (0 of one), and ``interval``: 95 %, bootstrap over the questions,
        which are the same for all seeds.
    """
    from mmgpt.evaluation.figures import bootstrap_interval

    each = np.array([run['curve'][place]['scores'][name] for run in results['runs'] if run['arm'] == arm], float)
    of_seeds = each.mean(1)
    return {
        'mean': float(each.mean()),
        'deviation': float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else 0.0,
        'interval': bootstrap_interval(each.mean(0)),
        'seeds': len(of_seeds),
    }


def table(results: Mapping[str, Any]) -> str:
    """Markdown: of each arm the last scores, their mean over seeds ± deviation, and the interval over questions."""
    names = list(results['runs'][0]['curve'][-1]['scores'])
    lines = ['| | ' + ' | '.join(names) + ' |', '|---' * (len(names) + 1) + '|']
    starts = results['runs'][0]['curve'][0]
    if starts['iteration'] == 0:
        cells = [f'{np.mean(starts["scores"][name]):.3f}' for name in names]
        lines.append(f'| before | {" | ".join(cells)} |')
    for arm in arms(results):
        found = [figure(results, arm, name) for name in names]
        cells = []
        for f in found:
            spread = f' ± {f["deviation"]:.3f}' if f['seeds'] > 1 else ''
            cells.append(f'{f["mean"]:.3f}{spread} ({f["interval"][0]:.2f} to {f["interval"][1]:.2f})')
        lines.append(f'| {arm} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def draw_curves(results: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    """A panel for each score, in it a line for each arm over iterations; bars are deviations over seeds."""
    panels, save = canvas(len(names), path)
    for axes, name in zip(panels, names, strict=True):
        for arm in arms(results):
            iterations = [point['iteration'] for point in next(r for r in results['runs'] if r['arm'] == arm)['curve']]
            found = [figure(results, arm, name, place) for place in range(len(iterations))]
            means, deviations = ([f[key] for f in found] for key in ('mean', 'deviation'))
            axes.errorbar(iterations, means, deviations, marker='o', markersize=3, capsize=2, label=arm)
        axes.set(title=name, xlabel='iterations', ylabel='share right' if axes is panels[0] else '')
    save()


def draw_bars(results: Mapping[str, Any], names: Sequence[str], path: Path, label: str = 'share right') -> None:
    """A panel for each score, in it a bar for each arm at the end; lines are intervals over questions."""
    panels, save = canvas(len(names), path, legend=False)
    found = arms(results)
    start = results['runs'][0]['curve'][0]
    for axes, name in zip(panels, names, strict=True):
        of_arms = [figure(results, arm, name) for arm in found]
        means = [f['mean'] for f in of_arms]
        errors = np.array(
            [[max(0.0, f['mean'] - f['interval'][0]), max(0.0, f['interval'][1] - f['mean'])] for f in of_arms]
        )
        axes.bar(range(len(found)), means, yerr=errors.T, capsize=3, color=[f'C{n}' for n in range(len(found))])
        if start['iteration'] == 0:
            axes.axhline(np.mean(start['scores'][name]), color='grey', linestyle=':')
        axes.set_xticks(range(len(found)), found, rotation=40, ha='right')
        axes.set(title=name, ylabel=label if axes is panels[0] else '')
    save()


def canvas(panels: int, path: Path, legend: bool = True) -> tuple[Sequence[Any], Callable[[], None]]:
    """Axes side by side, four in a row at most, and what writes them to a file."""
    from matplotlib.figure import Figure

    rows = -(-panels // 4)
    columns = -(-panels // rows)
    drawn = Figure(figsize=(3.0 * columns + 0.6, 2.9 * rows), layout='constrained')
    axes = list(drawn.subplots(rows, columns, squeeze=False).flat)

    def save() -> None:
        for unused in axes[panels:]:
            unused.set_visible(False)
        for used in axes[:panels]:
            used.grid(alpha=0.3)
            used.title.set_fontsize('medium')
        if legend:
            axes[0].legend(fontsize='x-small')
        drawn.savefig(path, dpi=90)

    return axes[:panels], save
