"""Training steps of the same model, with the same weights, by mmgpt and by Hugging Face's Idefics.

    python benchmarks/train_step.py [--images 1] [--text-only 0.3] [--every 1] [--precision bf16] [--json R]

Both are Idefics (ViT 384 x 12 at 224/16, LLaMA 512 x 8, vocabulary 32,000, 64 latents, resampler depth 6), one as
transformers has it, and ours with its weights; their losses and gradients are compared first. Resampler, gated blocks
and three added tokens are trained, in batches of 4 samples: a prompt of 25 tokens with the pictures, and an answer of
log-normal length (median 60, sigma 1, at most 512), all answers' tokens trained.

Each round runs every case over the same batches, in
another order each time; ratios are of samples per second, round by round.

    idefics, padded        a batch as rows of the longest one's length
    idefics, one by one    no padding: each sample by itself, gradients added up
    ours, stock            one packed row, and PyTorch's own choice of the library that multiplies
    ours                   as mmgpt trains: float32 products by oneDNN where that is faster (models/matmul.py)
    ours, cached           the same with the features of the frozen vision encoder at hand, as from the second epoch on
    idefics, ... oneDNN    what the peer would gain from the same setting

The efficiency is the floating point operations of matrix products over time and over what large matrix products reach
in the same rounds, by the same library and by the faster one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.arguments import add_workload

BATCH = 4


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_workload(parser)
    parser.add_argument('--samples', type=int, default=32, help='of a round; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--busy', action='store_true', help='one thread and its own time: the machine is not idle')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)
    import time

    import torch

    import mmgpt  # noqa: F401  (before transformers: it mends what stands in Idefics' way)
    from bench.measure import alone, flops, in_turn, machine, matrix_peak, ratios, spread, write
    from bench.models import SIZES, idefics, ours
    from bench.samples import mixture
    from bench.training import cases, difference, loss_of_idefics, products

    clock = alone() if args.busy else time.perf_counter
    sizes = sizes or SIZES
    peer = idefics(args.every, sizes).train()
    own = ours(peer).train()
    samples = mixture(args.samples, args.images, args.text_only, sizes=sizes)
    batches = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
    apart = difference(own, peer, batches[0])
    print(f'loss {apart["loss_itself"]:.4f}: apart by {apart["loss"]:.1e}, gradients by {apart["gradient"]:.1e}')
    if max(apart['loss'], apart['gradient']) > 1e-4:
        print('they do not compute the same', file=sys.stderr)
        return 1

    compared = cases('idefics', peer, loss_of_idefics, own, batches, args.precision)
    peaks = {'stock': [], 'oneDNN': []}

    def sample_peaks() -> None:
        for name, kept in peaks.items():
            with products(name == 'oneDNN'):
                kept.append(matrix_peak(torch.bfloat16 if args.precision == 'bf16' else torch.float32, clock=clock))

    seconds = in_turn({**compared, 'peaks': sample_peaks}, args.rounds, clock=clock)
    seconds.pop('peaks')
    peak = {name: spread(kept[1:])['median'] for name, kept in peaks.items()}
    stock = [name for name in compared if name.startswith('idefics') and 'oneDNN' not in name]
    best = min(stock, key=lambda name: spread(seconds[name])['median'])
    results = {
        'settings': {key: value for key, value in vars(args).items() if key not in ('json', 'plot')},
        'machine': machine(),
        'apart': apart,
        'tokens': {'real': sum(len(s.ids) for s in samples), 'padded': padded_tokens(batches)},
        'peak_flops': peak,
        'faster_layout': best,
        'cases': {},
    }
    print(f'matrix products: {peak["stock"] / 1e9:.0f} GFLOP/s by default, {peak["oneDNN"] / 1e9:.0f} as mmgpt chooses')
    for name, case in compared.items():
        work = flops(case)
        rate = spread([len(samples) / value for value in seconds[name]])
        library = 'oneDNN' if case.onednn else 'stock'
        reached = work / spread(seconds[name])['median']
        results['cases'][name] = {
            'samples_per_second': rate,
            'ratio': {layout: ratios(seconds[layout], seconds[name]) for layout in stock},
            'flops': work,
            'of_its_peak': reached / peak[library],
            'of_the_higher_peak': reached / max(peak.values()),
        }
        found = results['cases'][name]
        print(
            f'{name:<28} {rate["median"]:6.2f} samples/s ({rate["min"]:.2f} to {rate["max"]:.2f})  '
            + '  '.join(f'{value["median"]:.2f} x {layout}' for layout, value in found['ratio'].items())
            + f"  {work / 1e9 / len(samples):.1f} GFLOP a sample, {found['of_its_peak']:.0%} of its library's peak"
        )
    write(args.json, results)
    if args.plot:
        plot(results, args.plot)
    return 0


def padded_tokens(batches) -> int:
    return sum(len(batch) * max(len(sample.ids) for sample in batch) for batch in batches)


def plot(results, path: Path) -> None:
    """Bars of samples per second with their range."""
    from matplotlib.figure import Figure

    cases = results['cases']
    middle = [case['samples_per_second']['median'] for case in cases.values()]
    reach = [[abs(c['samples_per_second'][end] - m) for c, m in zip(cases.values(), middle)] for end in ('min', 'max')]
    figure = Figure(figsize=(8, 0.5 * len(cases) + 1.2), layout='tight')
    axes = figure.subplots()
    colours = ['tab:blue' if name.startswith('ours') else 'tab:orange' for name in cases]
    axes.barh(list(cases), middle, xerr=reach, color=colours)
    axes.invert_yaxis()
    settings = results['settings']
    axes.set_xlabel(f'samples/s ({settings["precision"]}, {settings["images"]} pictures a sample)')
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    raise SystemExit(main())
