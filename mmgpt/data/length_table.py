"""The lengths of a source's samples on disk: what one run has measured, the next one knows."""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import pickle
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tokenizers
import transformers

from mmgpt.data.address import Address
from mmgpt.data.cache import cached
from mmgpt.data.dataset import InstructionDataset

KEPT = 10_000  # samples of a source from which on its lengths are kept: to measure fewer takes seconds
_LOG = logging.getLogger('mmgpt.data')


def length_table(dataset: InstructionDataset, number: int) -> np.ndarray:
    """A table for the lengths of a source's samples: (samples,) int32, 0 where one was not measured yet.

    It is mapped into memory from a file beside the source's, so that what is written into it lasts. Processes share it:
    all of them would write the same number into a place, and a number is written whole, so whatever is found there is 0
    or right. It belongs to one state of everything that decides lengths, see :func:`decisive`; where something changed,
    the table is another one. Sources that are small, name no files, or whose lengths differ from epoch to epoch
    get a table in memory, and so do all where nothing can be written, which is said.

    Args:
        dataset: measures.
        number: of the source.
    """
    source, size = dataset.entries[number].source, dataset.sizes[number]
    files = list(getattr(source, 'annotation_files', ()))  # a source from outside need not have it
    streamed = getattr(source, 'blocks', None) is not None
    if size < KEPT or streamed or not files or not dataset.quotas[number]:
        return np.zeros(size, np.int32)
    if not dataset.measure(Address(number, 0)).lasting:
        return np.zeros(size, np.int32)

    def make(folder: Path) -> None:
        np.save(folder / 'lengths.npy', np.zeros(size, np.int32))

    try:
        path = cached('length-table', files, make, decisive(dataset, number)) / 'lengths.npy'
        return _mapped(path, size)
    except (OSError, ValueError, TypeError, AttributeError, pickle.PicklingError) as error:
        _LOG.warning('%s: lengths of its samples are measured in each run, none can be kept: %s', files[0], error)
        return np.zeros(size, np.int32)


def decisive(dataset: InstructionDataset, number: int) -> list[str]:
    """Digests of all that decides how long the samples of a source are, but for its files.

    These are the source and its retriever with their settings, the limits of length, the template, the tokenizer with
    all its files, and the code that makes ids of these.
    """
    entry, prompter = dataset.entries[number], dataset.prompter
    limits = [entry.marks, entry.max_seq_len, dataset.max_seq_len]
    with TemporaryDirectory() as folder:
        prompter.tokenizer.save_pretrained(folder)
        tokenizer = _digest_of_files(sorted(path for path in Path(folder).rglob('*') if path.is_file()))
    parts = (entry.source, entry.retriever, prompter.template)
    own_code = sorted({inspect.getsourcefile(type(part)) for part in parts if part is not None})
    return [
        hashlib.sha256(pickle.dumps((entry.source, entry.retriever))).hexdigest(),
        repr((limits, prompter.template.to_dict())),
        f'{type(prompter.tokenizer).__name__} {tokenizer}',
        _digest_of_files([Path(path) for path in own_code]),
        _code(),
    ]


@cache
def _code() -> str:
    """The code of this package, and the versions of what it tokenises with."""
    package = Path(__file__).parent
    files = [*sorted(package.rglob('*.py')), package.parent / 'structures.py']
    return f'{_digest_of_files(files)} transformers {transformers.__version__} tokenizers {tokenizers.__version__}'


def _digest_of_files(files: list[Path]) -> str:
    made = hashlib.sha256()
    for path in files:
        data = path.read_bytes()
        made.update(f'{path.name} {len(data)} '.encode() + data)
    return made.hexdigest()


def _mapped(path: Path, size: int) -> np.ndarray:
    table: Any = np.load(path, mmap_mode='c', allow_pickle=False)  # refuses a file that is cut; 'r+' would fill it up
    if table.shape != (size,) or table.dtype != np.int32:
        raise ValueError(f'{path} is damaged: it should hold {size} numbers; remove its folder')
    if os.access(path, os.W_OK):
        table = np.load(path, mmap_mode='r+', allow_pickle=False)
    else:
        _LOG.warning('%s may not be written: lengths that are not in it are measured in each run', path)
    return table.view(np.ndarray)
