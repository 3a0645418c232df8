"""Runs a function in several joined processes, forked from the test's own so that nothing is imported anew."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import socket
import traceback
from collections.abc import Callable
from typing import Any

from mmgpt.engine.strategies.processes import join, leave


def free_port() -> int:
    """A port that nobody listens at, below those that the system gives to connections of other tests meanwhile."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as found, contextlib.suppress(OSError):
            found.bind(('127.0.0.1', port))
            return port


def in_processes(
    function: Callable[..., Any], number: int, *arguments: Any, timeout: float = 120, lost: tuple[int, ...] = ()
) -> list[Any]:
    """``function(*arguments)`` in each of so many processes; what they gave, by rank.

    Those that get lost on the way give None, and the others do not wait for them at the end.

    Raises:
        RuntimeError: one of them failed, with its traceback.
        TimeoutError: they wait for each other.
    """
    context = multiprocessing.get_context('fork')
    port = free_port()
    pipes = [context.Pipe(duplex=False) for _ in range(number)]
    workers = [
        context.Process(target=_work, args=(rank, number, port, pipes[rank][1], function, arguments, not lost))
        for rank in range(number)
    ]
    for worker in workers:
        worker.start()
    try:
        results = []
        for rank, (receiver, _) in enumerate(pipes):
            if rank in lost:
                results.append(None)
                continue
            if not receiver.poll(timeout):
                raise TimeoutError(f'process {rank} gave nothing in {timeout} s')
            value, error = receiver.recv()
            if error:
                raise RuntimeError(f'process {rank}:\n{error}')
            results.append(value)
        return results
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _work(
    rank: int, number: int, port: int, sender: Any, function: Callable[..., Any], arguments: tuple, together: bool
) -> None:
    os.environ |= {'RANK': str(rank), 'WORLD_SIZE': str(number), 'LOCAL_RANK': str(rank)}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    try:
        join('pytorch', backend='gloo', timeout=60)
        value = function(*arguments)
        if together:
            leave()
        sender.send((value, None))
    except BaseException:
        sender.send((None, traceback.format_exc()))
