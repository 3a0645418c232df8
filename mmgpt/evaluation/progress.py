"""How far an evaluation is, and how long the rest will take."""

from __future__ import annotations

import sys
import time

from mmgpt.inference.endpoint_estimate import readable_time


class Progress:
    """Prints a line now and then; on a terminal it is the same line.

    Args:
        what: in front of the line.
        total: answers.
        done: answers of an earlier run.
        every: seconds between lines; of a terminal a second.
    """

    def __init__(self, what: str, total: int, done: int = 0, every: float = 10.0) -> None:
        self.what, self.total, self.done, self.before = what, total, done, done
        self.terminal = sys.stdout.isatty()
        self.every = 1.0 if self.terminal else every
        self.start = self.last = time.monotonic()
        if done:
            print(f'{what}: {done} of {total} were answered before')

    def advance(self, count: int) -> None:
        """So many more are answered."""
        self.done += count
        now = time.monotonic()
        if now - self.last < self.every:
            return
        self.last = now
        speed = (self.done - self.before) / max(now - self.start, 1e-9)
        left = (self.total - self.done) / max(speed, 1e-9)
        line = f'{self.what}: {self.done}/{self.total}, {speed:.1f} a second, {readable_time(left)} left'
        print(f'\r{line:79}' if self.terminal else line, end='' if self.terminal else '\n', flush=True)

    def close(self) -> None:
        """The line ends."""
        if self.terminal and self.last != self.start:
            print()
