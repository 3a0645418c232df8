"""Damages files at random, and bounds what reading them may take."""

import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SECONDS = 20  # that a file of a few kilobytes may take
MEMORY = 600  # MiB: a picture of 64 million pixels of 4 bytes, and again while it becomes RGB, and a little

TOKENS = [
    b'null',
    b'true',
    b'[]',
    b'{}',
    b'""',
    b'1e999',
    b'-1',
    b'NaN',
    b'"',
    b'\\',
    b'\\ud800',
    b'{',
    b']',
    b',',
    b':',
]
TOKENS += [b'\x00', b'\xff\xfe', b'\xef\xbb\xbf', b'"<image>"', b'[' * 2000, b'{"a":' * 500, b'9' * 5000, b'\n' * 50]
VALUES = [*TOKENS[:8], b'"\\ud800 x"', b'["\\ud800"]', b'"\\u0000"', b'[3, null]']

places = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.one_of(
        st.tuples(st.just('put'), places, st.sampled_from(TOKENS) | st.binary(max_size=8)),
        st.tuples(st.just('cut'), places, st.integers(1, 60)),
        st.tuples(st.just('repeat'), places, st.integers(1, 60)),
        st.tuples(st.just('flip'), places, st.integers(0, 7)),
        st.tuples(st.just('end'), places, st.none()),
        st.tuples(st.just('value'), places, st.sampled_from(VALUES)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list) -> bytes:
    for how, where, what in changes:
        place = int(where * len(data))
        if how == 'put':
            data = data[:place] + what + data[place:]
        elif how == 'cut':
            data = data[:place] + data[place + what :]
        elif how == 'repeat':
            data = data[:place] + data[place : place + what] * 2 + data[place + what :]
        elif how == 'flip' and data:
            data = data[:place] + bytes([data[place] ^ (1 << what)]) + data[place + 1 :]
        elif how == 'end':
            data = data[:place]
        elif how == 'value':  # of a member
            colon = data.find(b':', place)
            comma = min((end for end in (data.find(mark, colon) for mark in (b',', b'}')) if end > 0), default=-1)
            if 0 < colon < comma:
                data = data[: colon + 1] + what + data[comma:]
    return data


class Hang(BaseException):
    """Something took too long; not an ``Exception``, so that nothing takes it for the file's fault."""


@contextmanager
def at_most(seconds: int):
    """Interrupts what hangs."""

    def stop(*_):
        raise Hang(f'took more than {seconds} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def clear_errors(*names: object):
    """Lets errors pass that are meant for people: they name the file or sample that is at fault."""
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        said = ' '.join(map(str, [*error.args, *getattr(error, '__notes__', ())]))
        if not any(str(name) in said for name in names):
            pytest.fail(f'{type(error).__name__} does not say where: {said!r}')


def fuzz(count: int, *strategies):
    """Runs a check on so many drawn examples."""
    options = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    return lambda check: options(given(*strategies)(check))()


def counts(few: int):
    return pytest.mark.parametrize('count', [few, pytest.param(10 * few, marks=pytest.mark.slow)])


def memory(what: str) -> int:
    """KiB of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    status = Path('/proc/self/status').read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))


@pytest.fixture
def bounded_memory():
    """Fails a test that took more than ``MEMORY`` at any time."""
    if not Path('/proc/self/clear_refs').exists():
        pytest.skip('memory is measured by /proc')
    with most_memory(MEMORY):
        yield


@contextmanager
def most_memory(mebibytes: int):
    """Fails where more memory than that was taken at any time."""
    Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew
    before = memory('VmRSS')
    yield
    taken = (memory('VmHWM') - before) // 1024
    assert taken < mebibytes, f'{taken} MiB were taken, {mebibytes} are allowed'
