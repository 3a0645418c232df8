"""The evaluation task of a config: building it, and running it on the processes of a run."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process

from mmgpt.engine.config import load_config
from mmgpt.registry import TASKS


def build_task(config: str, advice: str = 'add evaluation = dict(type=...) with the name of a task') -> Any:
    """The task of a config, which may be one that describes no training.

    Args:
        config: the config's file.
        advice: what to do where it has no evaluation.

    Raises:
        OSError: there is no such config.
        ValueError: it has no evaluation, or faults.
    """
    if not load_config(config, check=False).get('evaluation'):
        raise ValueError(f'{config} has no evaluation: {advice}')
    return TASKS.build(dict(load_config(config).evaluation))


def run_task(task: Any, model: Any, processor: Any, out: Path, **options: Any) -> dict[str, Any]:
    """Runs a task; every process of a run calls it.

    The first process writes and prints. What the task writes and prints on the others is dropped, so that a task need
    not know how many there are: it may share its questions (:func:`mmgpt.evaluation.shares.in_shares`), and one that
    does not is right all the same.

    Args:
        task: a member of ``mmgpt.registry.TASKS``.
        model: the same on all processes.
        processor: the model's.
        out: the folder to write to; it exists.
        options: passed on to the task, such as ``limit``.

    Returns:
        the task's figures.
    """
    if is_main_process():
        return task(model, processor, out, **options)
    with tempfile.TemporaryDirectory() as dropped, contextlib.redirect_stdout(io.StringIO()):
        return task(model, processor, Path(dropped), **options)
