"""Items become one padded batch: text, pictures and videos side by side, each distinct frame once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmgpt.data.dataset import Item
from mmgpt.structures import IGNORE_INDEX, KINDS, Batch


class PadCollate:
    """Puts each item into a row of its own, padded on the right.

    A batch without any picture has no ``frames``, and ``media_frames`` of shape (R, 0, 0).

    Args:
        pad_token_id: fills the rows; what is padding is told by ``segment_ids``, so it may equal the end-of-text.
        pad_to_multiple_of: the length of the rows is rounded up to a multiple of it.
    """

    def __init__(self, pad_token_id: int, pad_to_multiple_of: int = 1) -> None:
        self.pad_token_id = pad_token_id
        self.pad_to_multiple_of = pad_to_multiple_of

    def __call__(self, items: Sequence[Item]) -> Batch:
        """One batch of R = ``len(items)`` rows."""
        rows = [item.encoded for item in items]
        lengths = torch.tensor([len(row.input_ids) for row in rows])
        width = -(-int(lengths.max()) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        positions = torch.arange(width).expand(len(rows), width)
        real = positions < lengths[:, None]
        labels = self._pad([row.labels for row in rows], IGNORE_INDEX, width)
        weights = torch.tensor([row.weight for row in rows], dtype=torch.float32)
        batch = Batch(
            input_ids=self._pad([row.input_ids for row in rows], self.pad_token_id, width),
            labels=labels,
            position_ids=positions * real,
            segment_ids=real.long(),
            loss_weights=weights[:, None] * (labels != IGNORE_INDEX),
            kinds=torch.tensor([[KINDS.index(row.kind)] for row in rows]),
            sample_ids=[[row.id] for row in rows],
        )
        numbers: dict = {}  # of the distinct frames, in the order they are met
        media = [
            [[numbers.setdefault(key, len(numbers)) for key in medium.frames] for medium in row.media] for row in rows
        ]
        batch['media_frames'] = _pad_media(media)
        if numbers:
            frames = {key: frame for item in items for key, frame in item.frames.items()}
            batch['frames'] = torch.stack([frames[key] for key in numbers])
        return batch

    @staticmethod
    def _pad(rows: list[Tensor], value: int, width: int) -> Tensor:
        padded = pad_sequence(rows, batch_first=True, padding_value=value)
        return torch.nn.functional.pad(padded, (0, width - padded.shape[1]), value=value)


def _pad_media(media: list[list[list[int]]]) -> Tensor:
    """(R, M, F) int64 of ragged lists, -1 where there is none."""
    most_media = max(map(len, media))
    most_frames = max((len(frames) for frames in chain.from_iterable(media)), default=0)
    padded = torch.full((len(media), most_media, most_frames), -1)
    for r, row in enumerate(media):
        for m, frames in enumerate(row):
            padded[r, m, : len(frames)] = torch.tensor(frames)
    return padded
