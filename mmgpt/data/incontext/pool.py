"""What is computed once from all samples of a source, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmgpt.data.cache import cached, digest
from mmgpt.data.sources import Source
from mmgpt.structures import Medium, Sample

PROBED = 64  # samples that tell whether a source reads its files as it did


def kept(source: Source, what: str, make: Callable[[Path], None], parameters: Any, files: list[Path]) -> Path:
    """The folder of what was computed from a source; see :func:`mmgpt.data.cache.cached`.

    Args:
        source: it names its annotation files.
        what: a word for names and messages.
        make: fills the folder.
        parameters: what else it depends on, as JSON.
        files: what else it was computed from.

    Raises:
        ValueError: the source names no files.
    """
    annotations = list(getattr(source, 'annotation_files', ()))
    if not annotations:
        raise ValueError(
            f'the source {source.name!r} names no annotation files, which tell whether its {what} still holds: define '
            f'annotation_files in {type(source).__name__}'
        )
    step = max(1, len(source) // PROBED)
    probe = digest([repr(_read(source, index)) for index in range(0, len(source), step)])
    return cached(what, [*annotations, *files], make, [type(source).__name__, len(source), probe, parameters])


def samples_of(source: Source) -> Iterator[Sample]:
    """All samples that can be read, each once."""
    seen = set()
    for index in range(len(source)):
        sample = _read(source, index)
        if sample is not None and sample.id not in seen:
            seen.add(sample.id)
            yield sample


def _read(source: Source, index: int) -> Sample | None:
    """The sample of an index; None where its record is broken, or left out by the rules of its set."""
    try:
        return source[index]
    except ValueError:
        return None


def media_of(sample: Sample) -> tuple[Medium, ...]:
    """All media of a sample."""
    return tuple(medium for turn in sample.turns for medium in turn.media)


def frames_of(sample: Sample) -> list[str]:
    """The keys of all its frames, in their order, each once."""
    return list(dict.fromkeys(str(frame) for medium in media_of(sample) for frame in medium.frames))
