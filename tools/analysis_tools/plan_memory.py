"""Says what a training needs of memory, on each GPU and of the host, under each strategy, and what makes it fit."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Neither weights, data nor a GPU are needed; a 9 B model takes a minute or two.'
    )
    parser.add_argument('config', metavar='CONFIG', help='a config file, such as configs/otter_mimicit.py')
    parser.add_argument('--gpus', type=int, default=1, metavar='N', help='default: %(default)s')
    parser.add_argument('--gpu-memory', default='80GB', metavar='SIZE', help='of each, such as 24GiB; default: 80GB')
    parser.add_argument(
        '--gpus-per-machine', type=int, metavar='N', help='that share the memory of a host; default: all'
    )
    parser.add_argument('--rows', type=int, help="of a GPU's micro-batch; default: the config's batch_size")
    parser.add_argument('--tokens', type=int, help="of a row; default: the config's row_length or max_seq_len")
    parser.add_argument('--samples', type=int, help='of a packed row; default: 4')
    parser.add_argument('--images', type=int, help='media of a sample, its context included; default: by the retriever')
    parser.add_argument('--frames', type=int, help='of a medium; default: 1')
    parser.add_argument('--precision', choices=('fp32', 'bf16'), help="default: the config's")
    parser.add_argument('--json', type=Path, metavar='R', help='also write the figures, in bytes')
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='k=v', help='changes to the config: a.b=value'
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 1 where nothing fits."""
    args = parse(argv)

    from mmgpt.engine.console import start_tool

    start_tool()

    from mmgpt.engine.config import ConfigError, load_config
    from mmgpt.engine.memory_settings import advice, make_plans, parse_memory, setting_of, table

    try:
        least = dict(gpus=1, gpus_per_machine=1, rows=1, tokens=1, samples=1, images=0, frames=1)
        for name, value in least.items():
            given = getattr(args, name)
            if given is not None and given < value:
                raise ValueError(f'--{name.replace("_", "-")} must be at least {value}, got {given}')
        memory = parse_memory(args.gpu_memory)
        if args.json:
            args.json.parent.mkdir(parents=True, exist_ok=True)
        cfg = load_config(args.config, args.cfg_options)
        names = ('rows', 'tokens', 'samples', 'images', 'frames', 'precision')
        setting = setting_of(cfg, **{name: getattr(args, name) for name in names})
        plans = make_plans(cfg, args.gpus, memory, setting, args.gpus_per_machine)
        sizes, rows = plans.sizes, f'{setting.rows} rows of {setting.tokens} tokens'
        print(
            f'{sizes.numbers / 1e9:.3f} B parameters are trained; all weights take '
            f'{sizes.parameters / 2**30:.1f} GiB\n'
            f'{args.gpus} x {args.gpu_memory}; of each GPU {rows}, in each '
            f'{setting.samples} samples with {setting.images} media of {setting.frames} frames; '
            f'{setting.precision}; in GiB:\n'
        )
        print(table(plans, memory))
        print()
        print(advice(plans, cfg, memory))
        if args.json:
            args.json.write_text(json.dumps(plans.to_dict(), indent=1) + '\n', encoding='utf-8')
    except (ConfigError, OSError, ImportError, ValueError) as error:
        print(f'plan_memory: {error}', file=sys.stderr)
        return 2
    return 0 if plans.best else 1


if __name__ == '__main__':
    sys.exit(main())
