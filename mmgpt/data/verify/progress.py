"""A progress bar for the doctor."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBar:
    """Shows on the terminal's error stream what was looked at, and how long the rest will take; silent elsewhere."""

    def __init__(self) -> None:
        columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None

    def start(self, what: str, total: int) -> None:
        """A new part of the work begins."""
        self._task = self._bar.add_task(what, total=total)

    def advance(self, count: int) -> None:
        """So much of it was done."""
        self._bar.advance(self._task, count)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._bar.stop()
