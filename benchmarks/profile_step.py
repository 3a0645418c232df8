"""Where the time of a training step goes: shares of kinds of operations, by PyTorch's profiler.

    python benchmarks/profile_step.py [--images 1] [--precision bf16] [--case ours] [--busy] [--json R]

The model and batches of ``train_step.py``, one case alone in its process. First the work of its matrix products over
its time and over what large products reach, both measured in turns; then the shares. Seconds of these are those inside
of an operation's own code.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.arguments import add_workload

KINDS = {
    'matrix products': ('mm', 'addmm', 'bmm', 'baddbmm', 'baddbmm_', 'mkldnn_convolution', 'convolution_backward'),
    'optimiser': ('_fused_adamw_',),
    'softmax of attention and of logits': (
        *('_softmax', '_softmax_backward_data', '_safe_softmax', '_log_softmax', '_log_softmax_backward_data'),
        *('softmax', 'amax', 'gather', 'scatter_add_', 'nll_loss_forward', 'nll_loss_backward'),
    ),
    'copies, casts and filling': (
        *('copy_', 'cat', 'fill_', 'zero_', 'index', 'index_copy_', 'index_copy', 'index_fill_', 'index_select'),
        *('new_zeros', 'empty', 'empty_strided', 'embedding'),
    ),
    'norms, rotations, activations, sums': (
        *('mul', 'add', 'add_', 'sub', 'div', 'div_', 'neg', 'pow', 'mean', 'sum', 'rsqrt', 'where', 'sigmoid'),
        *('silu', 'silu_backward', 'gelu', 'gelu_backward', 'relu', 'threshold_backward', 'tanh', 'tanh_backward'),
        *('native_layer_norm', 'native_layer_norm_backward', 'mul_', 'addcmul'),
    ),
}
REST = 'the rest: Python, autograd, views'


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_workload(parser)
    parser.add_argument('--case', default='ours', help='of those of train_step.py; default: %(default)s')
    parser.add_argument('--samples', type=int, default=8, help='default: %(default)s')
    parser.add_argument('--batch', type=int, default=4, help='samples of a packed row; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=9)
    parser.add_argument('--busy', action='store_true', help='one thread and its own time: the machine is not idle')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)
    import time

    import torch
    from torch.profiler import ProfilerActivity, profile

    import mmgpt  # noqa: F401  (before transformers: it mends what stands in Idefics' way)
    from bench.measure import alone, flops, in_turn, machine, matrix_peak, spread, write
    from bench.models import SIZES, idefics, ours
    from bench.samples import mixture
    from bench.training import cases, loss_of_idefics, products

    clock = alone() if args.busy else time.perf_counter
    sizes = sizes or SIZES
    peer = idefics(args.every, sizes).train()
    samples = mixture(args.samples, args.images, args.text_only, sizes=sizes)
    batches = [samples[start : start + args.batch] for start in range(0, len(samples), args.batch)]
    case = cases('idefics', peer, loss_of_idefics, ours(peer).train(), batches, args.precision)[args.case]
    dtype = torch.bfloat16 if args.precision == 'bf16' else torch.float32
    sampled = []

    def sample_peak() -> None:
        with products(case.onednn):
            sampled.append(matrix_peak(dtype, clock=clock))

    seconds = in_turn({'case': case, 'peak': sample_peak}, args.rounds, clock=clock)['case']
    peaks = sampled[1:]  # the first is of the round that warms up
    work = flops(case)
    reached = spread([work / taken / peak for taken, peak in zip(seconds, peaks, strict=True)])
    with profile(activities=[ProfilerActivity.CPU]) as found:
        case()
    shares = by_kind({event.key: event.self_cpu_time_total for event in found.key_averages()})
    peak = spread(peaks)
    print(
        f'{args.case}, {args.precision}: {work / 1e9:.0f} GFLOP in {spread(seconds)["median"]:.2f} s of '
        f'{torch.get_num_threads()} thread(s); {reached["median"]:.0%} ({reached["min"]:.0%} to {reached["max"]:.0%}) '
        f'of the peak of {peak["median"] / 1e9:.0f} GFLOP/s'
    )
    for kind, share in shares.items():
        print(f'  {share:6.1%}  {kind}')
    settings = {key: value for key, value in vars(args).items() if key != 'json'}
    measured = {'seconds': spread(seconds), 'flops': work, 'peak_flops': peak, 'of_the_peak': reached}
    write(args.json, {'settings': settings, 'machine': machine(), **measured, 'shares': shares})
    return 0


def by_kind(seconds: dict[str, float]) -> dict[str, float]:
    """Shares of the kinds of operations, from the time in each operation's own code.

    Args:
        seconds: by the profiler's names, ``aten::mm`` and so on.
    """
    kinds = {f'aten::{name}': kind for kind, names in KINDS.items() for name in names}
    sums = dict.fromkeys([*KINDS, REST], 0.0)
    for name, taken in seconds.items():
        sums[kinds.get(name, REST)] += taken
    total = sum(sums.values()) or 1.0
    return {kind: value / total for kind, value in sums.items()}


if __name__ == '__main__':
    raise SystemExit(main())
