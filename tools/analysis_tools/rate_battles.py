"""Rates models by blind votes between two of them: Elo with intervals, Bradley-Terry, and who beats whom."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'battles', metavar='BATTLES.jsonl', help='records of votes, as the page for comparing writes them'
    )
    parser.add_argument('--json', metavar='FILE', help='write the ratings')
    parser.add_argument('--plot', metavar='FILE.png', help='draw the share of battles that each won against each')
    parser.add_argument('--k', type=float, default=4.0, help="Elo's step (default: 4; FastChat once had 32)")
    parser.add_argument('--resamples', type=int, default=1000, help='of the votes, for the intervals (default: 1000)')
    parser.add_argument('--seed', type=int, default=0, help='of the resamples (default: 0)')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)
    if not Path(args.battles).is_file():
        print(f'rate_battles: there is no file {args.battles}', file=sys.stderr)
        return 2
    if args.resamples < 2 or args.seed < 0 or not 0 < args.k < math.inf:
        print(
            'rate_battles: --resamples must be at least 2, --seed at least 0, --k above 0 and finite', file=sys.stderr
        )
        return 2

    from mmgpt.evaluation.battles import draw_win_rates, rate, read_battles

    try:
        votes = read_battles(args.battles)
    except ValueError as error:
        print(f'rate_battles: {error}', file=sys.stderr)
        return 1
    rated = rate(votes, args.k, args.resamples, args.seed)
    show(rated)
    try:
        if args.json:
            Path(args.json).write_text(json.dumps(rated, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        if args.plot:
            draw_win_rates(votes, list(rated['models']), args.plot)
    except (OSError, ValueError) as error:
        print(f'rate_battles: {error}', file=sys.stderr)
        return 2
    return 0


def show(rated: dict) -> None:
    """Prints the ratings as a table."""
    width = max(map(len, rated['models']), default=5)
    print(f'{"model":<{width}}  {"Bradley-Terry":>22}  {"Elo":>7}  {"median, 95 %":>22}  {"won":>5}  battles')
    for name, row in rated['models'].items():
        strength = ranged(row['bradley_terry'], row['bradley_terry_interval'])
        resampled = ranged(row['elo_median'], row['elo_interval'])
        print(
            f'{name:<{width}}  {strength:>22}  {row["elo"]:>7.1f}  {resampled:>22}  {row["win_rate"]:>5.2f}'
            f'  {row["battles"]:>7}'
        )
    if len(rated['groups']) > 1:
        groups = '; '.join(', '.join(names) for names in rated['groups'])
        print(f'no chain of votes connects these groups, so their ratings do not compare: {groups}')


def ranged(value: float, interval: list[float]) -> str:
    """A rating with its interval."""
    return f'{value:.0f} [{interval[0]:.0f}, {interval[1]:.0f}]'


if __name__ == '__main__':
    sys.exit(main())
