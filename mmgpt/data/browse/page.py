"""A page that shows rows in a browser: one file, without anything to fetch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mmgpt.data.browse.rows import Row, frame_name, spaced
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.frames import FrameKey
from mmgpt.data.html_page import fill_page
from mmgpt.data.picture_bytes import data_url, encoded
from mmgpt.structures import IGNORE_INDEX, Encoded

COUNTED = 2000  # samples, evenly spaced, that the histograms are of
MOST_PARTS = 8  # tokens that one character may be made of


def write_page(
    path: str | Path, rows: Iterable[Row], dataset: InstructionDataset, title: str, whole: bool = True
) -> int:
    """Writes a page of rows.

    Args:
        path: the HTML file.
        rows: with their frames.
        dataset: that they are of; lengths are shown as histograms.
        title: of the page.
        whole: the lengths are those of samples of the whole data set, else those of the rows, and nothing more is read.

    Returns:
        the number of rows.
    """
    tokenizer, media_id = dataset.prompter.tokenizer, dataset.prompter.media_token_id
    show = _token_texts(tokenizer)
    frames: dict[FrameKey, str] = {}  # as data URLs
    shown, samples = [], []
    for row in rows:
        shown.append(_row(row, show, media_id, frames))
        samples += map(_lengths, row.sources, row.samples)
    if whole:
        every = spaced(dataset, COUNTED)
        samples = [_lengths(dataset.entries[one.source].source.name, dataset.encode(one)) for one in every]
    numbers = {key: number for number, key in enumerate(frames)}
    for row in shown:
        for medium in row['media']:
            medium['frames'] = [numbers[key] for key in medium['frames']]
    data = {'rows': shown, 'frames': list(frames.values()), 'histograms': _histograms(samples, len(dataset))}
    page = files('mmgpt.data.browse').joinpath('page.html').read_text(encoding='utf-8')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(fill_page(page, title, data), encoding='utf-8')
    return len(shown)


def _row(row: Row, show: Callable[[list[int]], list[str]], media_id: int, frames: dict[FrameKey, str]) -> dict:
    ids, media = row.input_ids.tolist(), []
    for sample in row.samples:
        for medium in sample.media:
            for key in medium.frames:
                if key not in frames:
                    frames[key] = _url(row.frames[key])
            media.append({'frames': list(medium.frames), 'names': [str(frame_name(key)) for key in medium.frames]})
    return {
        'samples': [
            {
                'id': sample.id,
                'source': source,
                'context': list(sample.context_ids),
                'kind': sample.kind,
                'attend_next': sample.attend_next,
            }
            for sample, source in zip(row.samples, row.sources)
        ],
        'ids': ids,
        'tokens': show(ids),
        'trained': [int(label != IGNORE_INDEX) for label in row.labels.tolist()],
        'segments': row.segment_ids.tolist(),
        'media': media,
        'mark': media_id,
    }


def _token_texts(tokenizer: PreTrainedTokenizerBase) -> Callable[[list[int]], list[str]]:
    """What each token adds to the text of those before it; '' where it holds the beginning of a character alone."""

    @lru_cache(maxsize=100_000)
    def decode(*ids: int) -> str:
        return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def texts(ids: list[int]) -> list[str]:
        made, before, start = [], 0, 0  # the tokens before..start are known, those from start on are waited with
        for end in range(1, len(ids) + 1):  # a token is decoded behind another: alone it would lose its leading blank
            known, text = decode(*ids[before:start]), decode(*ids[before:end])
            whole = not text.endswith('\ufffd') or end == len(ids) or end - start == MOST_PARTS
            made.append(text[len(known) :] if whole else '')
            if whole:
                before, start = start, end
        return made

    return texts


def _url(frame: Tensor) -> str:
    """A (3, H, W) uint8 frame; small ones without loss."""
    small = max(frame.shape) <= 64
    picture = Image.fromarray(frame.permute(1, 2, 0).numpy())
    return data_url(encoded(picture)) if small else data_url(encoded(picture, 'jpeg', quality=90), 'jpeg')


def _lengths(source: str, sample: Encoded) -> tuple[str, int, int]:
    """The source of a sample, its tokens, and those that are trained."""
    return source, len(sample.input_ids), int((sample.labels != IGNORE_INDEX).sum())


def _histograms(samples: list[tuple[str, int, int]], total: int) -> list[dict[str, Any]]:
    """The lengths of samples and of what is trained of them, per source."""
    tokens: dict[str, list[int]] = {}
    trained: dict[str, list[int]] = {}
    for name, length, answers in samples:
        tokens.setdefault(name, []).append(length)
        trained.setdefault(name, []).append(answers)
    both = (('Tokens of a sample', tokens), ('Trained tokens of a sample', trained))
    return [{'title': title, 'sets': _bars(counts), 'of': len(samples), 'all': total} for title, counts in both]


def _bars(counts: dict[str, list[int]]) -> dict[str, Any]:
    most = max((max(values) for values in counts.values()), default=1)
    edges = np.unique(np.linspace(0, most, 25).astype(int))
    if len(edges) < 2:
        edges = np.array([0, 1])
    bars = {name: np.histogram(values, edges)[0].tolist() for name, values in counts.items()}
    return {'edges': edges.tolist(), 'bars': bars}
