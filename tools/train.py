"""Trains the model of a config, saves it as a Hugging Face folder, and evaluates it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} The model comes to WORK_DIR/hf, its figures to WORK_DIR/metrics.json.'
    )
    parser.add_argument('config', metavar='CONFIG', help='a config file, such as configs/otter_demo.py')
    parser.add_argument('--work-dir', metavar='W', help="default: the config's work_dir, else work_dirs/<config name>")
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|PATH',
        help='continue from the newest whole checkpoint of the work folder, or from the checkpoint folder PATH',
    )
    parser.add_argument('--amp', action='store_true', help='train in bfloat16 autocast, whatever the config says')
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='k=v', help='changes to the config: a.b=value'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='what started the processes; set by tools/dist_train.sh and tools/slurm_train.sh',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument(
        '--no-validate', action='store_true', help='no validation loss during the training, and no evaluation after it'
    )
    parser.add_argument('--dry-run', action='store_true', help='rehearse the whole run in small, with nothing to fetch')
    parser.add_argument(
        '--standalone', action='store_true', help='checkpoints hold frozen towers too, instead of naming where they are'
    )
    parser.add_argument('--local-rank', '--local_rank', type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.engine.console import start_tool

    start_tool()  # first: some libraries speak when they are imported

    from mmengine.dist import get_rank

    from mmgpt.engine.checkpoints import CheckpointError, SaveError
    from mmgpt.engine.config import ConfigError, load_config
    from mmgpt.engine.hooks.stop import STOPPED
    from mmgpt.engine.inputs import require_inputs
    from mmgpt.engine.out_of_memory import OutOfMemory
    from mmgpt.engine.rehearsal import RehearsalError, rehearse
    from mmgpt.engine.strategies.processes import join, leave, lost_process, on_main, report
    from mmgpt.engine.work_folder import alone_in

    try:
        cfg = configure(load_config(args.config, args.cfg_options), args)
        if not args.dry_run:
            require_inputs(cfg, args.config)
        place = join(args.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
        if args.dry_run:
            rehearse(cfg)
            stopped_by = None
        else:
            with ExitStack() as held:
                on_main(lambda: held.enter_context(alone_in(cfg.work_dir)))
                stopped_by = train(cfg, validate=not args.no_validate, speaks=place.rank == 0)
        leave()
        return STOPPED if stopped_by else 0
    except (FloatingPointError, RehearsalError, SaveError, OutOfMemory) as error:
        return report('train', error, 1, args.launcher)
    except (ConfigError, CheckpointError, OSError, ImportError, ValueError) as error:
        return report('train', error, 2, args.launcher)
    except KeyboardInterrupt:
        return report('train', 'interrupted; --resume continues from the newest checkpoint', 130, args.launcher)
    except Exception as error:
        if args.launcher == 'none':
            raise
        if told := lost_process(error):
            return report('train', told, 1, args.launcher)
        return report('train', f'process {get_rank()} failed\n{traceback.format_exc()}', 1, args.launcher)


def configure(cfg, args: argparse.Namespace):
    """The config with the command line's wishes in it."""
    if args.launcher != 'none':
        cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    if args.resume == '':
        raise ValueError('--resume expects auto or the folder of a checkpoint, got an empty text')
    if args.resume:
        cfg.resume = True if args.resume == 'auto' else args.resume
    if int(os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)) and _goes_on(cfg):
        cfg.resume = True  # torchrun has started the run again
    if args.amp:
        cfg.optim_wrapper.precision = 'bf16'
    if args.no_validate:
        cfg.val_dataloader = None
    if args.standalone:
        hooks = cfg.setdefault('default_hooks', {})
        hooks['checkpoint'] = {'type': 'CheckpointHook', **(hooks.get('checkpoint') or {}), 'standalone': True}
    if args.auto_scale_lr:
        if 'auto_scale_lr' not in cfg:
            raise ValueError('--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=…) in the config')
        cfg.auto_scale_lr.enable = True
    return cfg


def _goes_on(cfg) -> bool:
    """Whether a run that is started again goes on from the newest checkpoint of its work folder.

    One that began from a certain checkpoint does so when it has written a later one.
    """
    from mmgpt.engine.checkpoints import iteration_of, list_checkpoints

    start = cfg.get('resume')
    if not isinstance(start, str) or start == 'auto':
        return True
    written = list_checkpoints(Path(cfg.work_dir) / 'checkpoints')
    try:
        return bool(written) and iteration_of(written[-1]) > iteration_of(Path(start))
    except ValueError:  # a checkpoint under another name
        return False


def train(cfg, validate: bool, speaks: bool) -> str | None:
    """Prepare the data, train, save and evaluate as the config says; of several processes one speaks.

    Returns:
        the signal that ended the training early: then there is a checkpoint and nothing more.
    """
    from mmgpt.engine.build import build_runner, prepare_data

    prepare_data(cfg)
    runner = build_runner(cfg)
    if speaks:
        print(runner.summary, flush=True)
    runner.train()
    if runner.stopped_by:
        if speaks:
            print(f'stopped by {runner.stopped_by} after iteration {runner.iter}; --resume auto goes on', flush=True)
        return runner.stopped_by
    folder = runner.export()
    if speaks:
        print(f'trained for {runner.train_loop.train_seconds:.0f} s; the model is in {folder}', flush=True)
    if validate and cfg.get('evaluation'):
        evaluate(cfg, runner, speaks)
    return None


def evaluate(cfg, runner, speaks: bool) -> None:
    """Run the config's task on the trained model and write its figures to ``metrics.json``."""
    from mmgpt.engine.tasks import run_task
    from mmgpt.registry import TASKS

    task = TASKS.build(dict(cfg.evaluation))
    metrics = run_task(task, runner.exported_model(), runner.processor, Path(cfg.work_dir))
    metrics |= {
        'seed': runner.seed,
        'train_seconds': round(runner.train_loop.train_seconds, 2),
        'config': cfg.filename,
    }
    if speaks:
        path = Path(cfg.work_dir) / 'metrics.json'
        path.write_text(json.dumps(metrics, indent=1) + '\n', encoding='utf-8')
        runner.write_card(Path(cfg.work_dir) / 'hf', metrics)
        print(f'figures: {path}')


if __name__ == '__main__':
    sys.exit(main())
