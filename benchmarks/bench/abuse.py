"""What a client may not do, done to a server on this machine: statuses, memory, and whether it still answers."""

from __future__ import annotations

import io
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from bench.site import Site, part, png

KEY = {'Authorization': 'Bearer secret'}


def drill(site: Site, flood: int) -> dict:
    """All cases, one after the other; after each the server must answer.

    Args:
        site: a server with the key ``secret``.
        flood: requests that come at once.
    """
    found = {}
    for name, run in cases(site, flood).items():
        one = found[name] = measured(site, run)
        print(
            f'{name}: {one["statuses"]}, {one["seconds"]} s, memory {one["mib_before"]} -> peak {one["mib_peak"]} -> '
            f'{one["mib_after"]} MiB; then it {"answers" if one["answers_after"] else "DOES NOT ANSWER"}',
            flush=True,
        )
    return found


def cases(site: Site, flood: int) -> dict[str, Callable[[], Counter]]:
    """What is done, by its name; each gives the statuses that came back."""
    url = bomb(10_000, 10_000)
    return {
        'malformed JSON': lambda: posts(site, [b'{', b'', b'[]', b'\xff\xfe\x00', b'{"model": ', b'[' * 200_000] * 5),
        'wrong types': lambda: posts(
            site,
            [
                question(site, max_tokens='many'),
                question(site, temperature=[1]),
                question(site, n=-1),
                question(site, stop=[1]),
                {'model': 7, 'messages': 'x'},
                {'model': site.model, 'messages': [1]},
            ],
        ),
        'bombs of 10,000 x 10,000 pixels': lambda: posts(site, [question(site, url)] * 16, threads=16),
        'bodies of 100 MB': lambda: posts(site, [b'x' * 100_000_000] * 4, threads=4),
        'bodies of 100 MB without their length': lambda: Counter(chunked(site, 100_000_000) for _ in range(4)),
        'SVG, HTML, text as pictures': lambda: posts(
            site,
            [
                question(site, part(b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'image/svg+xml')),
                question(site, part(b'<html><script>1</script></html>', 'image/png')),
                question(site, part(b'<html></html>', 'text/html')),
                question(site, part(b'#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n', 'video/mp4')),
            ],
        ),
        'paths and addresses': lambda: posts(
            site,
            [
                question(site, {'type': 'image_url', 'image_url': {'url': address}})
                for address in (
                    '/etc/passwd',
                    'file:///etc/passwd',
                    '../secret.png',
                    'http://127.0.0.1:22/',
                    'http://169.254.169.254/latest/meta-data',
                    'https://localhost/x.png',
                    'ftp://localhost/x',
                )
            ],
        ),
        'no key, wrong key': lambda: (
            posts(site, [question(site)] * 10, {})
            + posts(site, [question(site)] * 10, {'Authorization': 'Bearer wrong'})
        ),
        'slow clients': lambda: slow(site, 60),
        'clients that go away while it answers': lambda: gone(site, 100),
        f'{flood} requests at once': lambda: posts(site, [question(site)] * flood, threads=200),
    }


def measured(site: Site, run: Callable[[], Counter]) -> dict:
    """Runs a case: its statuses, time and memory, and whether the server answers afterwards."""
    site.reset_peak()
    before, start = site.memory()['now'], time.perf_counter()
    statuses = run()
    seconds, memory = time.perf_counter() - start, site.memory()
    return {
        'statuses': {str(status): count for status, count in sorted(statuses.items(), key=str)},
        'seconds': round(seconds, 2),
        'mib_before': round(before),
        'mib_peak': round(memory['peak']),
        'answers_after': answers_again(site),
        'mib_after': round(site.memory()['now']),
    }


def question(site: Site, *media: dict, **more) -> dict:
    """A request."""
    content = [*media, {'type': 'text', 'text': 'w200 w300'}]
    return {'model': site.model, 'messages': [{'role': 'user', 'content': content}], 'max_tokens': 4, **more}


def posts(site: Site, bodies: list, headers: dict | None = None, threads: int = 4) -> Counter:
    """The statuses of requests; 'closed' where the connection ended without one."""

    def one(body) -> int | str:
        try:
            return site.send(body, **(KEY if headers is None else headers))[0]
        except OSError:
            return 'closed'

    with ThreadPoolExecutor(threads) as pool:
        return Counter(pool.map(one, bodies))


def answers_again(site: Site) -> bool:
    """Whether a good request with a picture is answered, within a minute of trying."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if posts(site, [question(site, part(png(1), 'image/png'))]) == Counter({200: 1}):
            return site.get('/health')[0] == 200
        time.sleep(0.5)
    return False


def bomb(width: int, height: int) -> dict:
    """A small file of a large picture."""
    from PIL import Image

    file = io.BytesIO()
    Image.new('1', (width, height)).save(file, 'PNG')
    return part(file.getvalue(), 'image/png')


def connect(site: Site, head: str) -> socket.socket:
    """A connection on which a request has begun."""
    made = socket.create_connection(('127.0.0.1', site.port), timeout=60)
    fields = f'Host: x\r\nContent-Type: application/json\r\nAuthorization: {KEY["Authorization"]}\r\n{head}'
    made.sendall(f'POST /v1/chat/completions HTTP/1.1\r\n{fields}\r\n\r\n'.encode())
    return made


def status_of(connection: socket.socket) -> int | str:
    """The status that is answered."""
    try:
        line = connection.recv(100)
    except OSError:
        return 'closed'
    return int(line.split()[1]) if line else 'closed'


def chunked(site: Site, size: int) -> int | str:
    """A body that does not say how long it is."""
    with connect(site, 'Transfer-Encoding: chunked') as connection:
        chunk = b'100000\r\n' + b'x' * 2**20 + b'\r\n'
        try:
            for _ in range(size // 2**20):
                connection.sendall(chunk)
        except OSError:
            pass
        return status_of(connection)


def slow(site: Site, count: int) -> Counter:
    """Clients that begin a body and send no more; meanwhile another one is answered."""
    connections = [connect(site, 'Content-Length: 1000') for _ in range(count)]
    meanwhile = posts(site, [question(site)])
    statuses = Counter(status_of(connection) for connection in connections)
    for connection in connections:
        connection.close()
    return statuses + meanwhile


def gone(site: Site, count: int) -> Counter:
    """Clients that ask for a long answer and close; nothing must run on for them."""
    import json

    body = json.dumps(question(site, max_tokens=1500, stream=True)).encode()

    def one(_: int) -> str:
        connection = connect(site, f'Content-Length: {len(body)}')
        connection.sendall(body)
        status = status_of(connection)
        connection.close()
        return f'{status}, went away'

    ended = requests_ended(site)
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(one, range(count)))
    # A connection is closed before the server sees it: only when all are counted as ended, no more rows can begin.
    end = time.monotonic() + 20
    while requests_ended(site) < ended + count and time.monotonic() < end:
        time.sleep(0.1)
    while (running := int(site.counters()['mmgpt_running_rows'])) and time.monotonic() < end:
        time.sleep(0.1)
    statuses['rows still running'] = running
    return statuses


def requests_ended(site: Site) -> int:
    """Requests that the server counts as ended, whatever their status."""
    counters = site.counters()
    return int(sum(count for name, count in counters.items() if name.startswith('mmgpt_requests_total')))
