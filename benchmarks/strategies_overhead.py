"""What spreading over two processes costs: throughput beside that of as many independent runs at the same time.

    python benchmarks/strategies_overhead.py [--processes 2] [--tokens 2048] [--rounds 5] [--config CONFIG] [--json R]

The model of ``train_step.py`` (bench/models.py): a frozen vision tower and language model; resampler, gated blocks and
three added tokens are trained. Each process has a packed row of at least so many tokens, all as long, one picture a
sample, and takes steps on it in float32 with one thread of its own. Each round runs every case in all processes at
once, in another order each time:

    alone    no process knows of the others: independent runs that share the machine
    DDP      gradients exchanged
    FSDP2    parameters, gradients and optimiser state shared by layers

With CONFIG, such as configs/otter_demo.py, they are that config's model and first batch, in bfloat16.

A ratio is alone's time over that of a strategy, in the same round; a round's time is that of its slowest process. On a
machine that does other things too the ratio of the best times says more than the median.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

STRATEGIES = {'alone': None, 'DDP': dict(type='DDP'), 'FSDP2': dict(type='FSDP2')}


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--tokens', type=int, default=2048, help='of a process at least; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--config', help="a config's model and batches instead")
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)
    import mmgpt.engine.strategies  # noqa: F401  (once, before the processes are forked)
    from bench.measure import machine, ratios, write
    from bench.models import SIZES
    from bench.processes import in_processes

    results = in_processes(_measure, args.processes, args, sizes or SIZES)
    tokens = results[0][0]
    slowest = {name: [max(times) for times in zip(*(own[name] for _, own in results))] for name in STRATEGIES}
    figures = {}
    for name, times in slowest.items():
        figures[name] = {**ratios(slowest['alone'], times), 'best': min(slowest['alone']) / min(times)}
        pace = args.processes * tokens / sorted(times)[len(times) // 2]
        shown = '{median:.2f} ({min:.2f} to {max:.2f}), of the best rounds {best:.2f}'.format(**figures[name])
        print(f'{name:6} {shown}  {pace:,.0f} tokens/s')
    if args.json:
        write(args.json, {'tokens': tokens, 'ratios': figures, 'seconds': slowest, 'machine': machine()})
    return 0


def _measure(args, sizes) -> tuple[int, dict[str, list[float]]]:
    """Tokens of a step, and the seconds of each case in each round."""
    from mmengine.dist import barrier

    from bench.models import idefics, ours
    from mmgpt.engine.build import build_parts
    from mmgpt.engine.config import load_config
    from mmgpt.engine.module import TrainedModule
    from mmgpt.engine.optim_wrapper import AccumulatingOptimWrapper
    from mmgpt.engine.optimizer import build_optimizer, parameter_groups
    from mmgpt.models.matmul import prefer_onednn
    from mmgpt.registry import STRATEGIES as REGISTRY

    if args.config is None:
        prefer_onednn()
        batch, precision = _row(args.tokens, sizes), 'fp32'
    else:
        batch, precision = None, 'bf16'

    def model():
        nonlocal batch
        if args.config is None:
            return ours(idefics(1, sizes))
        cfg = load_config(args.config, ['train_dataloader.num_workers=0'])
        cfg.train_dataloader.pop('prefetch_factor', None)
        parts = build_parts(cfg)
        batch = batch or next(iter(parts.dataloader))
        return parts.model

    def case(strategy):
        module = TrainedModule(model().train())
        if strategy is not None:
            module = REGISTRY.build(dict(strategy)).wrap(module)
        bare = module.module.model if hasattr(module, 'module') else module.model
        optimizer = build_optimizer(dict(type='AdamW', lr=1e-8), parameter_groups(bare, 1e-8, 0.0))
        if strategy is None:
            return _Alone(module, optimizer, batch, precision)
        wrapper = AccumulatingOptimWrapper(optimizer, clip_grad=dict(max_norm=1.0), precision=precision)
        wrapper.initialize_count_status(module, 0, 2**31)
        return lambda: module.train_step(batch, wrapper)

    cases = {name: case(strategy) for name, strategy in STRATEGIES.items()}
    seconds = {name: [] for name in cases}
    names = list(cases)
    for number in range(-1, args.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            barrier()
            start = time.perf_counter()
            cases[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - start)
    return int((batch['segment_ids'] > 0).sum()), seconds


def _row(tokens: int, sizes) -> dict:
    """One packed row of at least so many tokens."""
    from bench.samples import mixture, packed

    samples, count = [], 0
    for sample in mixture(64, 1, 0.0, sizes=sizes):
        samples.append(sample)
        count += len(sample.ids)
        if count >= tokens:
            break
    return {**packed(samples, None), 'sample_ids': [[str(n) for n in range(len(samples))]]}


class _Alone:
    """The same step without the others."""

    def __init__(self, module, optimizer, batch, precision):
        self.module, self.optimizer, self.batch, self.precision = module, optimizer, batch, precision

    def __call__(self) -> None:
        import torch
        from torch.nn.utils import clip_grad_norm_

        with torch.autocast('cpu', torch.bfloat16, enabled=self.precision == 'bf16'):
            sums = self.module(self.batch)
        sums.loss_sum.backward()
        parameters = [p for group in self.optimizer.param_groups for p in group['params'] if p.grad is not None]
        for parameter in parameters:
            parameter.grad.div_(sums.weight_sum)
        clip_grad_norm_(parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


if __name__ == '__main__':
    sys.exit(main())
