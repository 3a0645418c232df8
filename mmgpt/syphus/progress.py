"""A progress bar that tells rate, time left, tokens and money."""

from __future__ import annotations

import sys
import time

from mmgpt.inference.endpoint import Endpoint
from mmgpt.inference.endpoint_estimate import readable_time


class Progress:
    """Shows how far a stage is: a bar on a terminal, a line now and then elsewhere.

    Args:
        name: of the stage.
        total: what is to be done; None = not known.
        endpoint: whose use is told.
    """

    def __init__(self, name: str, total: int | None, endpoint: Endpoint | None = None) -> None:
        self.name, self.total, self.endpoint = name, total, endpoint
        self.done, self._begin = 0, time.monotonic()
        self._shown = self._begin
        self._terminal = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._show(last=True)

    def tick(self) -> None:
        """One more is done."""
        self.done += 1
        if time.monotonic() - self._shown > (0.2 if self._terminal else 10.0):
            self._show()

    def line(self) -> str:
        """What is shown."""
        seconds = time.monotonic() - self._begin
        rate = self.done / seconds if seconds > 0 else 0.0
        parts = [f'{self.name}: {self.done:,}' + (f' of {self.total:,}' if self.total else ''), f'{rate:.1f}/s']
        if self.total and rate and self.done < self.total:
            parts.append(f'{readable_time((self.total - self.done) / rate)} left')
        if self.endpoint is not None:
            usage = self.endpoint.usage
            parts.append(f'{usage.prompt_tokens + usage.completion_tokens:,} tokens')
            if usage.cost:
                parts.append(f'cost {usage.cost:.4f}')
                if self.total and self.done:
                    parts.append(f'expected {usage.cost * self.total / self.done:.4f}')
            if usage.cached:
                parts.append(f'{usage.cached:,} cached')
            if usage.faults:
                parts.append(f'{sum(usage.faults.values()):,} faults met')
        return ', '.join(parts)

    def _show(self, last: bool = False) -> None:
        self._shown = time.monotonic()
        if not self._terminal:
            print(self.line(), file=sys.stderr, flush=True)
            return
        bar = ''
        if self.total:
            filled = round(24 * min(self.done / self.total, 1))
            bar = f'[{"#" * filled}{"." * (24 - filled)}] '
        print(f'\r\x1b[K{bar}{self.line()}', end='\n' if last else '', file=sys.stderr, flush=True)
