"""Losses of each strategy on several processes beside those of one process with the same global batch.

    python benchmarks/strategies.py [--processes 2 4] [--iterations 100] [--strategies DDP FSDP2 ZeRO-2 ZeRO-3]
        [--models demo LoRA Otter texts] [--json R]

With R, what it has of other settings stays in it, so that a machine with little time can measure them piece by piece.

The digits demo, in float32 on CPUs (gloo): batches of 8 samples.

    demo    everything is trained
    LoRA    adapters in self-attention, cross-attention and gated feed-forward, as MultiModal-GPT has them
    Otter   resampler, gated blocks and embedding; vision encoder and language model frozen
    texts   as Otter, and all samples of the last process are texts

Prints the largest difference of the losses and gradient norms over all iterations, and of the weights at the end,
with the parameter that has it; ends with 1 where a loss differs by more than 1e-4.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

BATCH, LIMIT = 8, 1e-4
STRATEGIES = {
    'DDP': dict(type='DDP'),
    'FSDP2': dict(type='FSDP2'),
    'ZeRO-2': dict(type='DeepSpeed', stage=2),
    'ZeRO-3': dict(type='DeepSpeed', stage=3),
}
OTTER = {'model.trainable': ['resampler', 'gated_blocks'], 'model.train_embeddings': 'all'}
LORA = dict(type='LoRA', slots=['self_attention', 'cross_attention', 'gated_feedforward'], r=16, alpha=16)
MODELS = {
    'demo': {},
    'LoRA': {'model.trainable': [], 'model.adapter': LORA},
    'Otter': OTTER,
    'texts': {**OTTER, 'train_dataloader.sampler.type': 'TextsLast'},
}


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--processes', type=int, nargs='+', default=[2, 4])
    parser.add_argument('--iterations', type=int, default=100)
    parser.add_argument('--strategies', nargs='+', choices=list(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument('--models', nargs='+', choices=list(MODELS), default=list(MODELS))
    parser.add_argument('--accumulate', type=int, default=1, help='micro-batches of a step')
    parser.add_argument('--config', default='configs/otter_demo.py')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)
    from bench.measure import machine, write
    from bench.processes import in_processes
    from mmgpt.data.samplers import MixtureSampler
    from mmgpt.engine.build import prepare_data
    from mmgpt.engine.config import load_config
    from mmgpt.registry import SAMPLERS

    @SAMPLERS.register_module()
    class TextsLast(MixtureSampler):
        """Of each ``of`` samples the last ``texts`` are those of the last source."""

        def __init__(self, *given, of: int, texts: int, **named):
            super().__init__(*given, **named)
            self.of, self.texts = of, texts

        def address(self, position: int):
            address = super().address(position)
            last = len(self.sizes) - 1
            if position % self.of >= self.of - self.texts:
                return address._replace(source=last, index=position % self.sizes[last])
            return address._replace(source=0, index=position % self.sizes[0]) if address.source == last else address

    cfg = load_config(args.config)
    prepare_data(cfg)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:

        def course(name: str, processes: int, model: str, strategy: str):
            share = BATCH // max(args.processes) if model == 'texts' else 0
            return in_processes(
                _train, processes, args, Path(scratch) / name, MODELS[model], STRATEGIES[strategy], share
            )[0]

        for model in args.models:
            alone = course(f'{model}_1', 1, model, 'DDP')
            for processes in args.processes:
                for strategy in args.strategies:
                    ours = course(f'{model}_{processes}_{strategy}', processes, model, strategy)
                    row = {'model': model, 'processes': processes, 'strategy': strategy}
                    row |= {'iterations': args.iterations, 'accumulate': args.accumulate, **_compare(ours, alone)}
                    rows.append(row)
                    print('{model:6} {processes} x {strategy:7} loss {loss:.1e}  gradient norm {grad_norm:.1e}  '
                          'weights {weights:.1e} ({at})'.format(**row), flush=True)  # fmt: skip
                    if args.json:
                        write(args.json, {'rows': _merged(args.json, rows), 'machine': machine()})
    worst = max(row['loss'] for row in rows)
    print(f'largest difference of a loss: {worst:.1e} over {args.iterations} iterations')
    return 0 if worst <= LIMIT else 1


def _merged(path: Path, rows: list[dict]) -> list[dict]:
    """The rows, after those of other settings that a file has."""
    kept = json.loads(path.read_text())['rows'] if path.exists() else []
    return [row for row in kept if not any(_setting(row) == _setting(other) for other in rows)] + rows


def _setting(row: dict) -> tuple:
    return tuple(row[name] for name in ('model', 'processes', 'strategy', 'iterations', 'accumulate'))


def _train(args, work_dir: Path, model: dict, strategy: dict, texts: int):
    """Train; what was logged, and the weights."""
    from mmengine.dist import get_world_size, is_main_process

    from mmgpt.engine.build import build_runner
    from mmgpt.engine.config import load_config
    from mmgpt.engine.hooks.curves import read_scalars

    cfg = load_config(args.config)
    changes = {
        'work_dir': str(work_dir),
        'strategy': strategy,
        'train_cfg.max_iters': args.iterations,
        'train_dataloader.batch_size': BATCH // get_world_size(),
        'train_dataloader.num_workers': 0,
        'optim_wrapper.precision': 'fp32',
        'optim_wrapper.accumulative_counts': args.accumulate,
        'default_hooks': dict(logger=dict(type='LoggerHook', interval=1), samples=None, curves=None, checkpoint=None),
        'visualizer.vis_backends': [dict(type='LocalVisBackend')],
        'env_cfg.num_threads': 1,
        **model,
    }
    cfg.merge_from_dict(changes)
    cfg.train_dataloader.pop('prefetch_factor', None)
    cfg.optim_wrapper.lr_factors = {}
    if texts:
        cfg.train_dataloader.sampler |= dict(of=BATCH, texts=texts)
    runner = build_runner(cfg)
    runner.train()
    weights = {}
    with runner.strategy.whole(runner.bare_model):
        if is_main_process():
            weights = {name: tensor.numpy().copy() for name, tensor in runner.bare_model.state_dict().items()}
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return (read_scalars(logs), weights) if is_main_process() else None


def _compare(ours, theirs) -> dict[str, Any]:
    curves, weights = ours
    other_curves, other_weights = theirs
    steps = sorted(other_curves['loss'])
    if sorted(curves['loss']) != steps:
        raise RuntimeError('the runs logged other iterations')
    figures = {
        name: max(abs(curves[name][step] - other_curves[name][step]) for step in steps if step in other_curves[name])
        for name in ('loss', 'grad_norm')
    }
    changes = {name: float(abs(weights[name] - other_weights[name]).max()) for name in weights}
    at = max(changes, key=changes.get)
    return {**figures, 'weights': changes[at], 'at': at}


if __name__ == '__main__':
    sys.exit(main())
