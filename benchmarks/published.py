"""Training steps of the same model by mmgpt and by a checkout of OpenFlamingo or Otter, with the same weights.

    git clone https://github.com/mlfoundations/open_flamingo     or https://github.com/EvolvingLMMs-Lab/Otter
    pip install einops einops-exts open_clip_torch               Otter: einops accelerate peft
    python benchmarks/published.py --checkout open_flamingo [--images 1] [--text-only 0.3] [--json R] [--plot P]

Nothing is downloaded: their Flamingo is built by their own code with the dimensions of ``train_step.py``, random
weights and open gates; what they train is trained (resampler, gated blocks, the whole embedding, Otter's head too). Its
state dict is brought to ours as ``mmgpt convert`` does, and losses and gradients are compared first. Then both take the
steps of ``train_step.py``, every round all cases in another order:

    theirs, padded / one by one    rows of the longest one's length, or each sample by itself and gradients added up
    ours, stock / ours / cached    one packed row, as in ``train_step.py``
    theirs, ... oneDNN             what they would gain from the setting that ours has

Their code is from 2023. Where it does not import or build beside the libraries at hand, the message says what it needs;
Otter's modules for decoders other than LLaMA, which do not import beside a new transformers, are left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench.arguments import add_workload

BATCH = 4


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--checkout', type=Path, required=True, help='the root of a clone')
    add_workload(parser)
    parser.add_argument('--samples', type=int, default=32, help='of a round; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)
    import mmgpt  # noqa: F401  (before transformers: it mends what stands in the way of old code)
    from bench.measure import flops, in_turn, machine, ratios, spread, write
    from bench.models import SIZES
    from bench.published import (
        CannotRun,
        gradients_of_published,
        kind_of,
        loss_of_published,
        ours_of_published,
        published,
    )
    from bench.samples import mixture
    from bench.training import cases, difference
    from train_step import plot

    sizes = sizes or SIZES
    samples = mixture(args.samples, args.images, args.text_only, sizes=sizes)
    batches = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
    try:
        peer = published(args.checkout, args.every, sizes).train()
        own = ours_of_published(peer, args.every).train()
        apart = difference(own, peer, batches[0], loss_of_published, gradients_of_published)
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 2
    kind = kind_of(args.checkout)
    print(
        f'{kind}: loss {apart["loss_itself"]:.4f}, apart by {apart["loss"]:.1e}, gradients by {apart["gradient"]:.1e}'
    )
    if max(apart['loss'], apart['gradient']) > 1e-4:
        print('they do not compute the same', file=sys.stderr)
        return 1

    compared = cases('theirs', peer, loss_of_published, own, batches, args.precision)
    seconds = in_turn(compared, args.rounds)
    options = {key: value for key, value in vars(args).items() if key not in ('checkout', 'json', 'plot')}
    results = {'settings': options, 'peer': kind, 'machine': machine(), 'apart': apart, 'cases': {}}
    for name, case in compared.items():
        rate = spread([len(samples) / value for value in seconds[name]])
        gained = {layout: ratios(seconds[layout], seconds[name]) for layout in list(compared)[:2]}
        results['cases'][name] = {'samples_per_second': rate, 'ratio': gained, 'flops': flops(case)}
        print(
            f'{name:<27} {rate["median"]:6.2f} samples/s ({rate["min"]:.2f} to {rate["max"]:.2f})  '
            + '  '.join(f'{value["median"]:.2f} x {layout}' for layout, value in gained.items())
            + f'  {results["cases"][name]["flops"] / 1e9 / len(samples):.1f} GFLOP a sample'
        )
    write(args.json, results)
    if args.plot:
        plot(results, args.plot)
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
