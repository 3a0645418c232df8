"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a path beside ``path`` to write to; the file takes its place at the end, and goes where writing failed.

    Example:
        >>> with whole_file(Path('notes.txt')) as partial:
        ...     _ = partial.write_text('all or nothing')
        >>> Path('notes.txt').read_text()
        'all or nothing'
    """
    partial = path.with_name(f'.{path.name}.part')
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
