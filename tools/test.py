"""Evaluates a model on the task of a config."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Writes results.json (figures by task and number of shots) and predictions.jsonl.'
    )
    parser.add_argument('config', metavar='CONFIG', help='a config file with an evaluation')
    parser.add_argument(
        'model',
        metavar='MODEL',
        help='a model folder, such as work_dirs/otter_demo/hf; hf:NAME or openai:NAME for models of others',
    )
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='where to write; default: MODEL/evaluation/<config name>, of models of others below work_dirs',
    )
    parser.add_argument('--limit', type=int, metavar='N', help='at most so many questions of each kind')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the accelerator where there is one')
    parser.add_argument('--dtype', default='auto', help="such as bfloat16; default: the folder's own")
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes, which share the questions; set by tools/dist_test.sh',
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.launcher != 'none' and args.device not in (None, 'cpu', 'cuda'):
        parser.error(f'--device must be cpu or cuda with a launcher, whose processes have one each, got {args.device}')
    if args.limit is not None and args.limit < 1:
        parser.error(f'--limit must be at least 1, got {args.limit}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.engine.console import start_tool

    start_tool()  # first: some libraries speak when they are imported

    from mmengine.dist import get_rank

    from mmgpt.engine.strategies.processes import join, leave, report
    from mmgpt.engine.tasks import build_task
    from mmgpt.evaluation.models import check_name
    from mmgpt.inference.endpoint import EndpointError

    try:
        check_name(args.model)  # what is not there is said before the config's parts are imported
        task = build_task(args.config)
        place = join(args.launcher)
        evaluate(task, args, speaks=place.rank == 0)
        leave()
        return 0
    except (OSError, ValueError, ImportError, EndpointError) as error:
        return report('test', error, 2, args.launcher)
    except KeyboardInterrupt:
        return report('test', 'interrupted', 130, args.launcher)
    except Exception:
        if args.launcher == 'none':
            raise
        return report('test', f'process {get_rank()} failed\n{traceback.format_exc()}', 1, args.launcher)


def evaluate(task, args: argparse.Namespace, speaks: bool) -> None:
    """Run the task on the model and write its figures; of several processes one speaks."""
    from mmgpt.engine.tasks import run_task
    from mmgpt.evaluation.models import load_evaluated

    model, processor = load_evaluated(args.model, args.device, args.dtype)
    own = Path(args.model) if Path(args.model).is_dir() else Path('work_dirs') / args.model.replace(':', '_')
    out = Path(args.out or own / 'evaluation' / Path(args.config).stem)
    out.mkdir(parents=True, exist_ok=True)
    results = task.results(run_task(task, model, processor, out, limit=args.limit))
    if not speaks:
        return
    (out / 'results.json').write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')
    for name, rows in results.items():
        for row in rows:
            print(f'{name}, {row["shots"]} shots: {row["mean"]:.4f}')
    print(f'figures: {out / "results.json"}; answers: {out / "predictions.jsonl"}')


if __name__ == '__main__':
    sys.exit(main())
