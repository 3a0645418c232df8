"""Makes items before they are asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar('Item')


@contextmanager
def made_ahead(items: Iterator[Item], count: int = 2) -> Iterator[Iterator[Item]]:
    """A context in which a thread takes from ``items`` up to ``count`` items before they are asked for.

    The items and their order are those of ``items``; what making one raises, asking for it raises. Decoding pictures
    and tokenising leave the interpreter free, so that making a batch does not hold up training.

    Args:
        items: used by the thread alone from then on.
        count: items that wait at most.

    Example:
        >>> with made_ahead(iter(range(3))) as items:
        ...     list(items)
        [0, 1, 2]
    """
    ready: queue.Queue = queue.Queue(count)
    left = threading.Event()

    def put(made: tuple[Item | None, BaseException | None]) -> None:
        while not left.is_set():
            try:
                return ready.put(made, timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            while not left.is_set():
                put((next(items), None))
        except BaseException as error:
            put((None, error))

    def taken() -> Iterator[Item]:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item

    thread = threading.Thread(target=make, name='makes batches', daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        left.set()
        thread.join()
