"""Syphus against a server that answers by rule over HTTP: throughput, memory, and being killed.

    python benchmarks/syphus.py throughput   # requests a second at concurrency 64, the server taking 200 ms
    python benchmarks/syphus.py memory       # peak memory with 1,000 and with 1,000,000 items queued
    python benchmarks/syphus.py stages       # peak memory and time of parse, filter and build, by the number of items
    python benchmarks/syphus.py kills        # 1,000 items, concurrency 32, killed three times

The server is a process of its own. Rates are told as a share of what the server's latency allows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
LATENCY, CONCURRENCY = 0.2, 64


def throughput(requests: int) -> None:
    from mmgpt.inference.endpoint import Endpoint
    from tests.inference.rule_server import log_of, rule_server

    async def run(address: str, folder: str) -> float:
        async with Endpoint('rule', address, cache=f'{folder}/c.sqlite', concurrency=CONCURRENCY) as endpoint:
            system = {'role': 'system', 'content': 'x' * 1500}

            async def one(n: int) -> None:
                await endpoint.ask([system, {'role': 'user', 'content': f'item {n} ' + 'y' * 400}])

            await asyncio.gather(*(one(-n - 1) for n in range(CONCURRENCY)))  # connections are open
            begin = time.monotonic()
            await asyncio.gather(*(one(n) for n in range(requests)))
            return requests / (time.monotonic() - begin)

    with rule_server(latency=LATENCY) as address, tempfile.TemporaryDirectory() as folder:
        before = time.process_time()
        rate = asyncio.run(run(address, folder))
        spent = (time.process_time() - before) / requests
        most = log_of(address)['most_flying']
    possible = CONCURRENCY / LATENCY
    print(f'{requests} requests, {CONCURRENCY} at a time ({most} seen by the server), {LATENCY * 1000:.0f} ms each: '
          f'{rate:.1f}/s of {possible:.0f}/s possible = {rate / possible:.1%}; {spent * 1000:.2f} ms of '
          f'processor each')  # fmt: skip


def write_items(path: Path, items: int) -> None:
    with path.open('w') as file:
        for n in range(items):
            line = {
                'id': f'v{n}',
                'image_ids': [f'I_{n}'],
                'annotation': [f'Person {n} opens door {n % 977}.', 'A dog barks.'],
            }
            file.write(json.dumps(line) + '\n')


CONFIG = """
input = '{folder}/items.jsonl'
task = dict(type='TVCaptions')
endpoint = dict(model='rule', concurrency=64, budget=dict(max_tokens={tokens}))
filters = ['Empty', 'Length', 'Leakage', 'Duplicates', 'NearDuplicates']
"""


def memory(items: list[int], asked: int) -> None:
    """Each number of items in a process of its own, which asks about the first so many of them and then stops."""
    from tests.inference.rule_server import rule_server

    for number in items:
        with rule_server() as address, tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            write_items(place / 'items.jsonl', number)
            (place / 'config.py').write_text(CONFIG.format(folder=folder, tokens=asked * 500))
            command = [sys.executable, __file__, 'queue', '--config', f'{folder}/config.py', '--address', address]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), flush=True)


def queue(config: str, address: str) -> None:
    import os

    from mmgpt.inference.endpoint_limits import BudgetExhausted
    from mmgpt.syphus.pipeline import Run
    from mmgpt.syphus.settings import read_settings

    os.environ['OPENAI_BASE_URL'] = address
    run = Run(read_settings(config), Path(config).parent / 'w')
    base = peak()
    begin = time.monotonic()
    queued = run.load()
    loaded, seconds = peak(), time.monotonic() - begin
    with contextlib.suppress(BudgetExhausted):
        run.stages()
    asked = run.state.count('asks')
    print(f'{queued:,} items queued in {seconds:.0f} s, {asked:,} of them asked: peak {base:.0f} MiB before, '
          f'{loaded:.0f} MiB queued, {peak():.0f} MiB in the end')  # fmt: skip
    run.close()


def stages(items: list[int]) -> None:
    """Parse, filter and build on made-up pairs, each number of items in a process of its own."""
    for number in items:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, 'judge', '--config', folder, '--items', str(number)]
            print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip(), flush=True)


def judge(folder: str, items: int) -> None:
    from mmgpt.syphus.pipeline import Run
    from mmgpt.syphus.settings import read_settings

    place = Path(folder)
    write_items(place / 'items.jsonl', items)
    (place / 'config.py').write_text(CONFIG.format(folder=folder, tokens=1))
    run = Run(read_settings(place / 'config.py'), place / 'w')
    run.load()
    base = run.state.base
    for n in range(items):
        base.execute("INSERT INTO asks VALUES (?, '', 0, x'00', 'parsed', NULL)", (n,))
        for k in range(2):
            texts = (
                f'What does person {n} do at door {k}?',
                f'Person {n} opens door {n % 977} and walks into hall {n * 7 + k}.',
            )
            base.execute("INSERT INTO pairs VALUES (?, ?, '', ?, ?, ?, '', NULL, NULL)", (n * 256 + k, n, k, *texts))
    run.state.commit()
    for name in ('generate', 'parse'):
        run.state.set(f'done {name}', True)
    before, begin = peak(), time.monotonic()
    run.stages('filter')
    filtered, middle = peak(), time.monotonic()
    run.stages('build')
    print(f'{items:,} items, {2 * items:,} pairs: filters {middle - begin:.0f} s, build '
    f'{time.monotonic() - middle:.0f} s; peak '
          f'{before:.0f} MiB before, {filtered:.0f} MiB after filtering, {peak():.0f} MiB after building')  # fmt: skip
    run.close()


def kills(items: int) -> None:
    from tests.inference.rule_server import log_of, rule_server
    from tests.syphus.project import accounted, product, tool, write_project

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = write_project(place, items, ('es', 'ko'))
        options = dict(
            rule='tests.syphus.rules:syphus', latency=0.02, faults={'500': 3, '429': 3, 'malformed': 2, 'cut': 2}
        )
        with rule_server(**options) as address:
            if tool(config, place / 'calm', address).wait():
                raise RuntimeError('the undisturbed run failed')
            calm = log_of(address)
        with rule_server(**options) as address:
            for share in (0.1, 0.35, 0.7):
                process, before = tool(config, place / 'w', address, '--resume'), log_of(address)['answered']
                while (now := log_of(address))['different'] < share * calm['different']:
                    time.sleep(0.01)
                process.kill()
                process.wait()
                print(f'killed after {now["answered"] - before} replies of this run', flush=True)
            if tool(config, place / 'w', address, '--resume').wait():
                raise RuntimeError('the last run failed')
            log = log_of(address)
        accounted(place / 'w', items)
        same = product(place / 'w') == product(place / 'calm')
        print(f'{items} items, {calm["answered"]} replies undisturbed, {log["answered"]} with three kills: '
              f'{log["answered"] - calm["answered"]} asked twice (allowed 96); output the same: {same}')  # fmt: skip


def peak() -> float:
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=('throughput', 'memory', 'stages', 'kills', 'queue', 'judge'))
    parser.add_argument('--requests', type=int, default=6400)
    parser.add_argument('--items', type=int, nargs='+')
    parser.add_argument('--asked', type=int, default=2000, help='about how many items are asked about (memory)')
    parser.add_argument('--config', help=argparse.SUPPRESS)
    parser.add_argument('--address', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == 'throughput':
        throughput(args.requests)
    elif args.what == 'memory':
        memory(args.items or [1_000, 100_000, 1_000_000], args.asked)
    elif args.what == 'stages':
        stages(args.items or [2_000, 20_000])
    elif args.what == 'kills':
        kills((args.items or [1000])[0])
    elif args.what == 'queue':
        queue(args.config, args.address)
    else:
        judge(args.config, args.items[0])


if __name__ == '__main__':
    main()
