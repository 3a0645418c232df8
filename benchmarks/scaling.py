"""How a training step's cost grows: with tokens, pictures, the vocabulary and the size of the data set.

    python benchmarks/scaling.py [--tokens 512 1024 1536 2048] [--images 1 2 4 8] [--json R] [--plot P]

The models of ``train_step.py``, ours and Hugging Face's Idefics, one of these at a time:

    tokens        longer rows: more samples of 128 tokens, four of them with a picture (Idefics: a sample a row)
    images        four samples of 128 tokens with more pictures each, all distinct
    vocabulary    four samples of 128 tokens with a picture, models with more words
    data set      instructions in the files (``data.py`` writes them): seconds to open files that are indexed, and of
                  our steps with a loader in front, decoding included

Each axis runs all of its points in turn, round by round. Time is the median of the rounds; memory is the most bytes of
tensors alive in a step (on a GPU, what PyTorch has allocated), the weights and what was there before left out. A line
is fitted to the points of an axis: what a step costs per unit (slope), what it costs anyway (intercept), and how well
the line tells it (R²: 1 on the line; for what does not grow the slope is what to look at).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

LENGTH, SAMPLES = 128, 4  # tokens of a sample, and samples of a step where their number is not what grows
UNITS = {'seconds': 's', 'memory': 'MiB', 'opening': 's'}


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tokens', type=int, nargs='*', default=[512, 1024, 1536, 2048], help='of a row')
    parser.add_argument('--images', type=int, nargs='*', default=[1, 2, 4, 8], help='of a sample')
    parser.add_argument('--vocabulary', type=int, nargs='*', default=[8_000, 32_000, 128_000], help='words of a model')
    parser.add_argument('--instructions', type=int, nargs='*', default=[1_000, 100_000], help='of a data set')
    parser.add_argument('--every', type=int, default=1, help='layers from one gated block to the next; default: 1')
    parser.add_argument('--precision', choices=('fp32', 'bf16'), default='fp32')
    parser.add_argument('--rounds', type=int, default=5, help='default: %(default)s')
    parser.add_argument('--busy', action='store_true', help='one thread and its own time: the machine is not idle')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    args = parser.parse_args(argv)
    if faulty := [count for count in args.tokens if count < SAMPLES * LENGTH or count % LENGTH]:
        parser.error(f'--tokens: a row has at least {SAMPLES} samples of {LENGTH} tokens, whole ones; got {faulty}')
    return args


def main(argv=None, sizes=None) -> int:
    args = parse(argv)
    import torch

    import mmgpt  # noqa: F401  (before transformers: it mends what stands in Idefics' way)
    from bench.measure import alone, machine, write
    from bench.models import SIZES

    sizes = sizes or SIZES
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    options = {key: value for key, value in vars(args).items() if key not in ('json', 'plot')}
    args.clock = alone() if args.busy else time.perf_counter
    results = {'settings': options, 'machine': machine(), 'axes': {}}
    axes = {
        'tokens': partial(over_tokens, args, sizes, device),
        'images': partial(over_images, args, sizes, device),
        'vocabulary': partial(over_vocabulary, args, sizes, device),
        'instructions': partial(over_instructions, args, sizes, device),
    }
    for axis, measure in axes.items():
        points = getattr(args, axis)
        if points:
            found = measure()
            results['axes'][axis] = {
                name: {'points': points, 'values': values, **fitted(points, values)} for name, values in found.items()
            }
            show(axis, results['axes'][axis])
            write(args.json, results)
    if args.plot:
        plot(results['axes'], args.plot)
    return 0


def over_tokens(args, sizes, device) -> dict[str, list[float]]:
    """Rows of more and more samples."""
    samples = {count: made(count // LENGTH, [1] * SAMPLES, sizes) for count in args.tokens}
    return compare(args, device, pair(args, sizes, device), samples)


def over_images(args, sizes, device) -> dict[str, list[float]]:
    """The same text with more and more pictures."""
    samples = {count: made(SAMPLES, [count] * SAMPLES, sizes) for count in args.images}
    return compare(args, device, pair(args, sizes, device), samples)


def over_vocabulary(args, sizes, device) -> dict[str, list[float]]:
    """The same text and pictures for models with more and more words, one pair of models after the other."""
    columns: dict[str, list[float]] = {}
    for words in args.vocabulary:
        larger = {**sizes, 'text': {**sizes['text'], 'vocabulary': words}}
        samples = {words: made(SAMPLES, [1] * SAMPLES, larger)}
        for name, values in compare(args, device, pair(args, larger, device), samples).items():
            columns.setdefault(name, []).extend(values)
    return columns


def over_instructions(args, sizes, device) -> dict[str, list[float]]:
    """Our steps with a loader in front, from files with more and more instructions."""
    from bench.measure import in_turn, spread

    opening, cases = [], {}
    with tempfile.TemporaryDirectory(prefix='scaling_') as scratch:
        for count in args.instructions:
            seconds, cases[count] = opened(Path(scratch) / str(count), count, args, sizes, device)
            opening.append(seconds)
        seconds = in_turn(cases, args.rounds, clock=args.clock)
        steps = [spread(seconds[count])['median'] for count in args.instructions]
    return {'ours, opening': opening, 'ours, seconds': steps}


def opened(folder: Path, instructions: int, args, sizes, device):
    """Seconds of opening files that are indexed already, and one training step over what the loader gives next."""
    import torch

    from bench.models import idefics, ours, trained
    from bench.training import placed
    from data import tokenizer, write
    from mmgpt.data.builder import build_dataloader, build_prompter

    write(folder, images=64, instructions=instructions, name='scaling')
    words = tokenizer(folder)
    prompter = build_prompter({'type': 'Otter'}, words, {'size': sizes['image']})
    source = dict(type='MimicIt', instructions=str(folder / 'XX_instructions.json'), images=str(folder / 'images'))
    given = dict(batch_size=SAMPLES, num_workers=0, dataset=dict(sources=[source]))
    build_dataloader(given, prompter)  # makes the indexes
    start = time.perf_counter()
    batches = iter(build_dataloader(given, prompter))
    next(batches)
    seconds = time.perf_counter() - start
    large = {**sizes, 'text': {**sizes['text'], 'vocabulary': max(len(words), sizes['text']['vocabulary'])}}
    model = ours(idefics(args.every, large)).to(device).train()
    model.config.media_token_id = words.convert_tokens_to_ids('<image>')
    optimizer = torch.optim.AdamW(trained(model), lr=1e-8, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        tensors = {name: value for name, value in next(batches).items() if torch.is_tensor(value)}
        sums = model.compute_loss(placed(tensors, model))
        (sums.loss_sum / sums.weight_sum).backward()
        optimizer.step()

    return seconds, step


def made(count: int, images: list[int], sizes) -> list:
    """So many samples of one length; the first ones have pictures."""
    import torch

    from bench.models import ADDED
    from bench.samples import IGNORE, Made

    generator = torch.Generator().manual_seed(0)
    vocabulary, side = sizes['text']['vocabulary'], sizes['image']
    samples = []
    for media in images + [0] * (count - len(images)):
        ids = torch.randint(3, vocabulary, (LENGTH,), generator=generator)
        ids[:media] = vocabulary + ADDED - 1
        labels = ids.clone()
        labels[: LENGTH // 4] = IGNORE
        samples.append(Made(ids, labels, torch.randn(media, 3, side, side, generator=generator)))
    return samples


def pair(args, sizes, device) -> dict:
    """Both models, on the device."""
    from bench.models import idefics, ours

    peer = idefics(args.every, sizes)
    return {'ours': ours(peer).to(device).train(), 'idefics': peer.to(device).train()}


def compare(args, device, models: dict, samples: dict[int, list]) -> dict[str, list[float]]:
    """Seconds and memory of a step of each model at each point."""
    from bench.measure import in_turn, spread
    from bench.memory import MIB, PeakMemory, live_bytes
    from bench.training import Steps, loss_of_idefics, loss_of_ours

    losses = {'ours': loss_of_ours, 'idefics': loss_of_idefics}
    steps = {}
    for point, batch in samples.items():
        for name, model in models.items():
            make = lambda rows, name=name, model=model: [partial(losses[name], model, rows)]  # noqa: E731
            onednn = name == 'ours' and device == 'cpu'
            steps[name, point] = Steps(model, make, [batch], args.precision, onednn)
    seconds = in_turn(steps, args.rounds, clock=args.clock)
    columns: dict[str, list[float]] = {}
    for (name, point), step in steps.items():
        columns.setdefault(f'{name}, seconds', []).append(spread(seconds[name, point])['median'])
        step.optimizer.zero_grad()
        if device == 'cpu':
            taken = live_bytes(step)
        else:
            memory = PeakMemory(device)
            memory.restart()
            step()
            taken = memory.bytes()
        step.optimizer.zero_grad()
        columns.setdefault(f'{name}, memory', []).append(taken / MIB)
    return columns


def fitted(points: list[float], values: list[float]) -> dict[str, float | None]:
    """The line of least squares; none through fewer than two points."""
    import numpy as np

    if len(set(points)) < 2:
        return {'slope': None, 'intercept': None, 'r_squared': None}
    slope, intercept = np.polyfit(points, values, 1)
    beside = float(np.square(np.array(values) - (slope * np.array(points) + intercept)).sum())
    whole = float(np.square(np.array(values) - np.mean(values)).sum())
    return {'slope': float(slope), 'intercept': float(intercept), 'r_squared': 1 - beside / whole if whole else 1.0}


def show(axis: str, found: dict) -> None:
    """Prints the figures and the line of each column."""
    print(axis)
    for name, column in found.items():
        unit = UNITS[name.split(', ')[1]]
        values = ', '.join(f'{point:,}: {value:.4g}' for point, value in zip(column['points'], column['values']))
        line = ''
        if column['slope'] is not None:
            line = f'   {column["intercept"]:.4g} + {column["slope"]:.3g} each, R² {column["r_squared"]:.4f}'
        print(f'  {name:<17} {values} {unit}{line}', flush=True)


def plot(axes: dict, path: Path) -> None:
    """A panel for time and one for memory of each axis, points and lines."""
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], dict] = {}
    for axis, columns in axes.items():
        for name, column in columns.items():
            model, measure = name.split(', ')
            panels.setdefault((axis, measure), {})[model] = column
    figure = Figure(figsize=(15, 7), layout='tight')
    grid = figure.subplots(-(-len(panels) // 4), min(4, len(panels)), squeeze=False)
    for place, ((axis, measure), models) in zip(grid.flat, panels.items()):
        for model, column in models.items():
            colour = 'tab:orange' if model == 'idefics' else 'tab:blue'
            place.plot(column['points'], column['values'], 'o', color=colour, label=model)
            if column['slope'] is not None:
                ends = [min(column['points']), max(column['points'])]
                place.plot(ends, [column['intercept'] + column['slope'] * end for end in ends], color=colour)
        highest = max(value for column in models.values() for value in column['values'])
        place.set(xlabel=axis, ylabel=f'{measure} ({UNITS[measure]})', ylim=(0, 1.1 * highest))
        points = models['ours']['points']  # all models have the same
        place.set_xticks(points, [f'{point:,}' for point in points])
        place.legend()
    for place in grid.flat[len(panels) :]:
        place.remove()
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    raise SystemExit(main())
