"""Seconds of training until the digits demo names pictures by 4 demonstrations, by mmgpt and by Hugging Face's Idefics.

    python benchmarks/time_to_quality.py [--seeds 0 1 2] [--target 0.9] [--every 50] [--json R] [--plot P]

Ours is ``configs/otter_demo.py`` by our Runner; the peer an Idefics of the same sizes by transformers' ``Trainer``.
Both get the very same samples in the same batches (ours without padding, the peer as Idefics takes them: rows padded in
text and pictures), learning rates (the peer times --peer-rate), AdamW, clipping and, where the processor has it,
bfloat16 autocast; all weights are trained. With --peer-start ours the peer gets our first weights and open gates too,
wherever both models have the same part: what then remains is the cost of a step. With --peer-start own it begins as
transformers begins it. Two sources of the demo are left out for both: those with several pictures behind one mark
(videos, and 2.5 % of the samples), whose order Idefics could not tell.

Every so many iterations both answer the same questions about pictures that were held back from this training (the last
of the demo's pictures for training, none of its held-out ones), greedily, by the same code. Neither that nor building
counts. A side has reached the target at the first scoring that has it. Each has one thread. With two cores or more both
train at the same time, each in a process on half of the cores with the worker that makes its batches; with --one-by-one
one after the other on all cores. The peer gives up at --give-up times our seconds; the ratio is then a lower bound.
Seconds are those of a clock, with the time that batches are waited for; processor seconds those of the training process
alone, which other work on the machine hardly disturbs. --steps runs no race but a few steps of both in turns.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/time_to_quality')
FOREVER = float('inf')


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--target', type=float, default=0.9, help='share of right answers; default: %(default)s')
    parser.add_argument('--every', type=int, default=50, help='iterations between scorings; default: %(default)s')
    parser.add_argument('--episodes', type=int, default=400, help='questions of a scoring; default: %(default)s')
    parser.add_argument('--iterations', type=int, help="of the whole schedule; default: the config's")
    parser.add_argument('--give-up', type=float, default=3.0, help='times our seconds; default: %(default)s')
    parser.add_argument('--one-by-one', action='store_true', help='one side after the other, each on all cores')
    parser.add_argument('--peer-attention', choices=('eager', 'sdpa'), default='eager', help='default: the faster one')
    parser.add_argument('--peer-precision', choices=('bf16', 'fp32'), help='default: as ours')
    parser.add_argument('--peer-rate', type=float, default=1.0, help='times our learning rates; default: %(default)s')
    parser.add_argument('--peer-start', choices=('ours', 'own'), default='ours', help='default: %(default)s')
    parser.add_argument('--steps', type=int, help='no race: the cost of so many steps of both, in turns')
    parser.add_argument('--data', type=Path, default=DATA, help='made where it is not there; default: %(default)s')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    return parser.parse_args(argv)


def main(argv=None, data_size: dict | None = None) -> int:
    args = parse(argv)

    from mmgpt.engine.console import start_tool

    start_tool()

    from bench.measure import machine, spread, write
    from bench.quality import Race
    from mmgpt.engine.build import prepare_data

    cfg = demo_config(args.data, args.iterations, data_size)
    prepare_data(cfg)
    precision = args.peer_precision or cfg.optim_wrapper.precision
    aside = not args.one_by_one and len(os.sched_getaffinity(0)) > 1
    settings = {key: value for key, value in vars(args).items() if key not in ('json', 'plot', 'data')}
    results = {
        'machine': machine(),
        'settings': {
            **settings,
            'peer_precision': precision,
            'iterations': cfg.train_cfg.max_iters,
            'side_by_side': aside,
        },
        'runs': [],
    }
    if args.steps:
        write(
            args.json,
            {
                **results,
                'steps': show_steps(cfg, Race(precision, attention=args.peer_attention), args.steps),
            },
        )
        return 0
    for seed in args.seeds:
        race = Race(
            precision,
            seed=seed,
            target=args.target,
            every=args.every,
            episodes=args.episodes,
            attention=args.peer_attention,
            rate=args.peer_rate,
            start=args.peer_start,
        )
        sides = (side_by_side if aside else one_by_one)(cfg, race, args.give_up)
        run = {'seed': seed, **sides, **compared(sides)}
        results['runs'].append(run)
        show(run)
        write(args.json, results)
    found = [run['ratio'] for run in results['runs'] if run['ratio']]
    if found:
        bound = any(run['at_least'] for run in results['runs'])
        results['ratio'] = {**spread(found), 'at_least': bound}
        results['processor_ratio'] = spread([run['processor_ratio'] for run in results['runs'] if run['ratio']])
        print(
            f'{"at least " if bound else ""}{results["ratio"]["median"]:.2f} x sooner, in processor time '
            f'{results["processor_ratio"]["median"]:.2f} x (medians of {len(found)} seeds)'
        )
    write(args.json, results)
    if args.plot:
        draw(results, args.plot)
    return 0


def demo_config(folder: Path, iterations: int | None = None, data_size: dict | None = None):
    """The demo's config on data without the pictures that are asked about, and without what Idefics has no form for.

    Args:
        folder: of the data.
        iterations: of the schedule. Default: the config's.
        data_size: arguments of the data's builder.
    """
    import torch

    from bench.quality import HELD_BACK
    from mmgpt.engine.config import load_config
    from mmgpt.engine.optim_wrapper import faster_precision

    cfg = load_config(ROOT / 'configs' / 'otter_demo.py')
    before = cfg.data

    def moved(value):
        if isinstance(value, dict):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [moved(item) for item in value]
        return value.replace(before, str(folder), 1) if isinstance(value, str) else value

    dataset = cfg.train_dataloader.dataset
    dataset.sources = [moved(dict(source)) for source in dataset.sources if shows_single_pictures(source)]
    cfg.tokenizer = moved(dict(cfg.tokenizer))
    cfg.data_builder = dict(
        type='DigitsBuilder', folder=str(folder), held_back=HELD_BACK, whole_contexts=True, **(data_size or {})
    )
    cfg.train_cfg.max_iters = iterations or cfg.train_cfg.max_iters
    cfg.optim_wrapper.precision = faster_precision(torch.device('cpu'))  # as it would by itself, told to both sides
    unneeded = ('checkpoint', 'progress', 'samples', 'curves', 'gates')  # neither side saves or draws anything
    cfg.default_hooks = {**cfg.default_hooks, **dict.fromkeys(unneeded)}
    return cfg


def shows_single_pictures(source) -> bool:
    """Whether each mark of a source of the demo stands for one picture."""
    pairs = Path(source['instructions']).name.startswith('CMP')
    return source.get('kind') != 'video' and (not pairs or source.get('media') == 'each')


def one_by_one(cfg, race, give_up: float) -> dict:
    """Ours, then the peer, in this process."""
    from bench.quality import train

    ours = train('ours', cfg, race)
    limit = give_up * ours['seconds'] if ours['reached'] else FOREVER
    return {'ours': ours, 'idefics': train('idefics', cfg, race, lambda: limit)}


def side_by_side(cfg, race, give_up: float) -> dict:
    """Both at the same time, each on its half of the cores."""
    import multiprocessing
    import queue

    from bench.quality import SIDES, train_apart

    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    spawn = multiprocessing.get_context('spawn')
    results, limits = spawn.Queue(), {side: spawn.Value('d', FOREVER) for side in SIDES}
    places = {'ours': cores[:half], 'idefics': cores[half : 2 * half]}
    started = [
        spawn.Process(target=train_apart, args=(side, cfg, race, limits[side], places[side], results)) for side in SIDES
    ]
    for process in started:
        process.start()
    found = {}
    try:
        while len(found) < len(SIDES):
            try:
                side, result = results.get(timeout=5)
            except queue.Empty:
                if all(process.is_alive() or process.exitcode == 0 for process in started):
                    continue
                raise RuntimeError('a process ended without a result: what it said stands above') from None
            if isinstance(result, str):
                raise RuntimeError(f'{side}: {result}')
            found[side] = result
            if side == 'ours' and result['reached']:
                limits['idefics'].value = give_up * result['seconds']
    finally:
        for process in started:
            if len(found) < len(SIDES):
                process.terminate()
            process.join()
    return found


def compared(sides: dict) -> dict:
    """The ratios of the seconds; lower bounds where the peer did not reach the target, None where ours did not."""
    names = {'ratio': 'seconds', 'processor_ratio': 'processor_seconds'}
    if not sides['ours']['reached']:
        return {**dict.fromkeys(names), 'at_least': False}
    ratios = {name: sides['idefics'][key] / sides['ours'][key] for name, key in names.items()}
    return {**ratios, 'at_least': not sides['idefics']['reached']}


def show(run: dict) -> None:
    """Prints what came of a seed."""
    print(f'seed {run["seed"]}')
    for side in ('ours', 'idefics'):
        found = run[side]
        last = found['curve'][-1] if found['curve'] else {'score': float('nan'), 'loss': float('nan')}
        print(
            f'  {side:<8} {"reached it" if found["reached"] else "ended"} after {found["seconds"]:.1f} s, '
            f'{found["iterations"]} iterations of {found["seconds_per_iteration"]:.3f} s '
            f'({found["processor_seconds"]:.1f} s of the processor); '
            f'score {last["score"]:.3f}, loss {last["loss"]:.3f}'
        )
    if run['ratio']:
        bound = 'at least ' if run['at_least'] else ''
        print(f'  {bound}{run["ratio"]:.2f} x sooner, in processor time {run["processor_ratio"]:.2f} x', flush=True)


def show_steps(cfg, race, steps: int) -> dict:
    """Measures and prints what a step costs each side."""
    from bench.measure import spread
    from bench.quality import step_costs

    taken = step_costs(cfg, race, steps)
    for name, seconds in taken.items():
        found = spread(seconds)
        print(f'{name:<8} {found["median"]:.3f} s of the processor ({found["min"]:.3f} to {found["max"]:.3f})')
    ratio = spread([peer / ours for ours, peer in zip(taken['ours'], taken['idefics'], strict=True)])
    print(f'a step of ours is {ratio["median"]:.2f} times as fast ({ratio["min"]:.2f} to {ratio["max"]:.2f})')
    return {**taken, 'ratio': ratio}


def draw(results: dict, path: Path) -> None:
    """Score against seconds, a line for each seed and side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout='tight')
    axes = figure.subplots()
    for number, run in enumerate(results['runs']):
        for side, colour in (('ours', 'tab:blue'), ('idefics', 'tab:orange')):
            curve, style = run[side]['curve'], ('-', '--', ':', '-.')[number % 4]
            seconds, scores = [point['seconds'] for point in curve], [point['score'] for point in curve]
            axes.plot(seconds, scores, style, color=colour, label=f'{side}, seed {run["seed"]}')
    axes.axhline(results['settings']['target'], color='grey', linewidth=0.8)
    axes.set_xlabel('seconds of training')
    axes.set_ylabel('naming with 4 demonstrations')
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    raise SystemExit(main())
