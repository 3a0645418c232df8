"""Tells what of its context a model uses: demonstrations intact, spoiled, and similar to the query."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', metavar='CONFIG', help="a config whose evaluation has shots (type='Evaluation')")
    parser.add_argument('model', metavar='MODEL', help='a model folder')
    parser.add_argument('--out', required=True, metavar='DIR', help='a folder for figures, answers and the plot')
    parser.add_argument('--conditions', nargs='+', metavar='NAME', help='default: all')
    parser.add_argument('--features', metavar='DIR', help="of extract_features.py; default: by the model's encoder")
    parser.add_argument('--limit', type=int, metavar='N', help='at most so many queries')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the accelerator where there is one')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.engine.console import start_tool

    start_tool()

    from mmgpt.engine.config import load_config
    from mmgpt.evaluation.laboratory import CONDITIONS, probe, table
    from mmgpt.hub.io import load_folder, locate

    try:
        locate(args.model)
        evaluation = load_config(args.config).to_dict().get('evaluation') or {}
        if evaluation.get('type') != 'Evaluation':
            raise ValueError(
                f"{args.config} has no evaluation with shots: evaluation = dict(type='Evaluation', task=…)"
            )
        model, processor = load_folder(args.model, args.device)
        options = dict(features=args.features, limit=args.limit)
        measured = probe(evaluation, model, processor, args.out, args.conditions or CONDITIONS, **options)
    except (OSError, ValueError, ImportError) as error:
        print(f'probe_context: {error}', file=sys.stderr)
        return 2
    text = table(measured)
    (Path(args.out) / 'context.md').write_text(text + '\n', encoding='utf-8')
    print(f'\n{text}\n\nplot: {Path(args.out) / "context.png"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
