"""Compares training runs: losses, speed, memory in a table, and their curves in one picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'runs', nargs='+', type=Path, metavar='RUN', help='a work folder, a log folder, or scalars.json'
    )
    parser.add_argument(
        '--keys', nargs='+', metavar='KEY', help='what is drawn; default: loss, val/loss, grad_norm, speed'
    )
    parser.add_argument('--out', type=Path, metavar='PICTURE', help='where the curves go: png, svg or pdf')
    parser.add_argument('--smooth', type=int, default=1, metavar='N', help='running mean over N logged values')
    parser.add_argument('--names', nargs='+', help='of the runs; default: their folders')
    parser.add_argument('--list', action='store_true', help='say which figures the runs have, and nothing else')
    parser.add_argument('--json', action='store_true', help='print the summaries as JSON')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.engine import log_analysis

    try:
        if args.names and len(args.names) != len(args.runs):
            raise ValueError(f'{len(args.runs)} runs need as many --names, got {len(args.names)}')
        if args.smooth < 1:
            raise ValueError(f'--smooth must be at least 1, got {args.smooth}')
        names = args.names or log_analysis.names_of(args.runs)
        runs = {name: log_analysis.read_run(path) for name, path in zip(names, args.runs, strict=True)}
        known = sorted({key for curves in runs.values() for key in curves})
        if unknown := [key for key in args.keys or () if key not in known]:
            raise ValueError(f'no run has {", ".join(unknown)}; there are {", ".join(known)}')
        if args.list:
            print('\n'.join(known))
            return 0
        print(log_analysis.to_json(runs) if args.json else log_analysis.table(runs))
        if args.out:
            drawn = log_analysis.plot(runs, args.keys or log_analysis.KEYS, args.out, args.smooth)
            print(f'{args.out} shows {", ".join(drawn)}', file=sys.stderr)
    except (OSError, ValueError) as error:
        print(f'analyze_logs: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
