"""Runs of the digits demo in very small, forked from a process that has imported everything: one takes seconds."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).parents[2] / 'configs' / 'otter_demo.py'
INTERVAL = 25  # iterations between checkpoints
# What makes the demo small; all the rest is as it is shipped.
SMALL = [
    'model.vision_encoder.config.hidden_size=32',
    'model.vision_encoder.config.intermediate_size=64',
    'model.vision_encoder.config.num_hidden_layers=1',
    'model.vision_encoder.config.num_attention_heads=2',
    'model.resampler.heads=2',
    'model.resampler.head_width=16',
    'model.language_decoder.config.hidden_size=32',
    'model.language_decoder.config.intermediate_size=64',
    'model.language_decoder.config.num_hidden_layers=2',
    'model.language_decoder.config.num_attention_heads=2',
    'model.cross_attention.heads=2',
    'model.cross_attention.head_width=16',
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'train_dataloader.prefetch_factor=None',
    'optim_wrapper.precision=fp32',
    'param_scheduler.0.end=20',
    'param_scheduler.1.begin=20',
    'data_builder.episodes=60',
    'data_builder.size=30',
    'default_hooks.samples=None',
    'default_hooks.curves=None',
    'default_hooks.logger.interval=10',
    'default_hooks.checkpoint.interval=25',
]


class Outcome:
    """A run that is over."""

    def __init__(self, code: int, text: str, seconds: float):
        self.code = code  # negative: the signal that killed it
        self.text = text  # what it printed
        self.seconds = seconds


class Run:
    """A run of ``tools/train.py`` in a process of its own.

    Args:
        folder: of the project; work folders are below it.
        work_dir: name of the work folder.
        iterations: of the whole run.
        options: ``--cfg-options`` beside ``SMALL``.
        before: called in the process, before it trains.
        place: rank, processes and port, of several.
    """

    def __init__(
        self,
        folder: Path,
        work_dir: str,
        iterations: int,
        options: list[str] = (),
        before: Callable[[], Any] = lambda: None,
        place: tuple[int, int, int] | None = None,
    ):
        self.work_dir = folder / work_dir
        self.output = folder / f'{work_dir}.{0 if place is None else place[0]}.{time.monotonic_ns()}.txt'
        arguments = [str(CONFIG), '--work-dir', work_dir, '--resume', 'auto', '--no-validate']
        if place is not None:
            arguments += ['--launcher', 'pytorch']
        arguments += ['--cfg-options', *SMALL, f'max_iters={iterations}', f'train_cfg.max_iters={iterations}', *options]
        self.outcome: Outcome | None = None
        self.begun = time.time()
        self.start = time.perf_counter()
        self.pid = os.fork()
        if self.pid == 0:
            self._work(folder, arguments, before, place)

    def _work(self, folder: Path, arguments: list[str], before: Callable[[], Any], place) -> None:
        code = 70
        try:
            os.chdir(folder)
            target = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(target, 1)
            os.dup2(target, 2)
            sys.stdout = open(1, 'w', buffering=1, closefd=False)  # noqa: SIM115 (as long as the process)
            sys.stderr = open(2, 'w', buffering=1, closefd=False)  # noqa: SIM115
            if place is not None:
                rank, number, port = place
                os.environ |= {'RANK': str(rank), 'WORLD_SIZE': str(number), 'LOCAL_RANK': str(rank)}
                os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
            before()
            code = self._run(folder, arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _run(self, folder: Path, arguments: list[str]) -> int:
        from tools import train

        return train.main(arguments)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def over(self) -> Outcome | None:
        """What came of it; None while it runs."""
        if self.outcome is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.outcome = self._outcome(status) if pid else None
        return self.outcome

    def wait(self, timeout: float = 300) -> Outcome:
        """Let it end."""
        end = time.perf_counter() + timeout
        while time.perf_counter() < end:
            if (outcome := self.over()) is not None:
                return outcome
            time.sleep(0.005)
        self.kill()
        os.waitpid(self.pid, 0)
        raise TimeoutError(f'{self.output} says what a run did that did not end in {timeout} s')

    def _outcome(self, status: int) -> Outcome:
        code = os.waitstatus_to_exitcode(status)
        return Outcome(code, self.output.read_text(errors='replace'), time.perf_counter() - self.start)

    def saves_or_is_over(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.saving() or self.over() is not None

    def saving(self) -> bool:
        """Whether this run is writing a checkpoint, or was when it was killed; what older ones left does not count."""
        partial = self.work_dir.glob('checkpoints/.iter_*')
        return any(folder.stat().st_mtime > self.begun for folder in partial)


class BuiltRun(Run):
    """A run whose model and data were built before its process was made, which saves most of a short run's time.

    Args:
        runner: of ``built``; all runs with it have its work folder.
        before: called in the process, before it trains.
    """

    def __init__(self, folder: Path, runner: Any, before: Callable[[], Any] = lambda: None):
        self.runner = runner
        super().__init__(folder, runner.work_dir, runner.max_iters, before=before)

    def _run(self, folder: Path, arguments: list[str]) -> int:
        import torch

        torch.set_num_threads(1)  # makes the lost pool of threads anew; threads of autograd would do so in a race
        self.runner.train()
        self.runner.export()
        return 0


def built(folder: Path, work_dir: str, iterations: int, options: list[str]) -> Any:
    """A runner that resumes the newest checkpoint of its work folder."""
    from mmgpt.engine.build import build_runner
    from mmgpt.engine.config import load_config

    here = Path.cwd()
    os.chdir(folder)
    logs = "visualizer.vis_backends=[{'type': 'LocalVisBackend'}]"  # TensorBoard's has a thread
    own = [f'max_iters={iterations}', f'train_cfg.max_iters={iterations}', logs]
    cfg = load_config(CONFIG, [*SMALL, *own, *options])
    cfg.work_dir, cfg.resume = work_dir, True
    runner = build_runner(cfg)
    os.chdir(here)
    return runner


def together(number: int, *args: Any, **kwargs: Any) -> list[Run]:
    """The same run in so many processes."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    return [Run(*args, **kwargs, place=(rank, number, port)) for rank in range(number)]


def final_weights(work_dir: Path) -> dict[str, Any]:
    """What the run exported."""
    from mmgpt.engine.weights import read_weights

    return {name: tensor.clone() for name, tensor in read_weights(work_dir / 'hf').items()}


def difference(first: dict[str, Any], second: dict[str, Any]) -> float:
    """The greatest of any element; 0 where they are the same, bit for bit."""
    if first.keys() != second.keys():
        raise ValueError(f'other tensors: {sorted(first.keys() ^ second.keys())[:5]}')
    import torch

    return max(
        0.0
        if torch.equal(first[name], second[name])
        else float((first[name] - second[name]).abs().max().clamp_min(1e-45))
        for name in first
    )


def prepare(folder: Path) -> None:
    """The data set, and all that a run imports; no thread is left, so that processes can be forked."""
    import torch

    torch.set_num_threads(1)
    import matplotlib.figure  # noqa: F401
    import torch.utils.tensorboard

    from mmgpt.engine.build import build_parts, prepare_data
    from mmgpt.engine.config import load_config

    here = Path.cwd()
    os.chdir(folder)
    cfg = load_config(CONFIG, SMALL)
    prepare_data(cfg)
    build_parts(cfg)
    os.chdir(here)


def remove(folder: Path) -> None:
    """A folder is there no more."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def small_disk(folder: Path, mebibytes: float):
    """A context in which a folder is a file system of its own with so much room; needs root."""
    import subprocess

    folder.mkdir(parents=True)
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={int(mebibytes * 1024)}k', 'tmpfs', folder], check=True)
    try:
        yield
    finally:
        subprocess.run(['umount', '-l', folder], check=False)
