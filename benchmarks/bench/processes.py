"""Runs a function in several joined processes, forked from this one so that nothing is imported anew."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any


def in_processes(function: Callable[..., Any], number: int, *arguments: Any) -> list[Any]:
    """What ``function(*arguments)`` gave in each of so many processes, by rank; gloo, one thread each.

    Raises:
        RuntimeError: one of them failed, with its traceback.
    """
    context = multiprocessing.get_context('fork')
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(number)]
    workers = [
        context.Process(target=_work, args=(rank, number, port, pipes[rank][1], function, arguments))
        for rank in range(number)
    ]
    for worker in workers:
        worker.start()
    try:
        results = []
        for rank, (receiver, _) in enumerate(pipes):
            while not receiver.poll(1):
                if not workers[rank].is_alive():
                    raise RuntimeError(f'process {rank} has gone')
            value, error = receiver.recv()
            if error:
                raise RuntimeError(f'process {rank}:\n{error}')
            results.append(value)
        return results
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _work(rank: int, number: int, port: int, sender: Any, function: Callable[..., Any], arguments: tuple) -> None:
    import torch

    from mmgpt.engine.strategies.processes import join, leave

    os.environ |= {'RANK': str(rank), 'WORLD_SIZE': str(number), 'LOCAL_RANK': str(rank)}
    os.environ |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    try:
        torch.set_num_threads(1)
        join('pytorch', backend='gloo')
        value = function(*arguments)
        leave()
        sender.send((value, None))
    except BaseException:
        sender.send((None, traceback.format_exc()))
