"""Items become one batch, a row each or packed: text, pictures, videos side by side, each distinct frame once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmgpt.data.dataset import Item
from mmgpt.data.feature_cache import CachedFrame
from mmgpt.data.frames import FrameKey
from mmgpt.structures import GROUPS, IGNORE_INDEX, LANGUAGES, Batch, Encoded


class PadCollate:
    """Puts each item, or each list of items that are packed, into a row; rows are padded on the right.

    A batch without any picture has no ``frames``, and ``media_frames`` of shape (R, 0, 0). It has ``attend_next`` where
    a sample says which medium its text sees.

    Args:
        pad_token_id: fills the rows; what is padding is told by ``segment_ids``, so it may equal the end-of-text.
        pad_to_multiple_of: the length of the rows is rounded up to a multiple of it.
        padding_free: all items are packed into one row, the samples in their order.
    """

    def __init__(self, pad_token_id: int, pad_to_multiple_of: int = 1, padding_free: bool = False) -> None:
        self.pad_token_id = pad_token_id
        self.pad_to_multiple_of = pad_to_multiple_of
        self.padding_free = padding_free

    def __call__(self, items: Sequence[Item | list[Item]]) -> Batch:
        """One batch of R = ``len(items)`` rows; without padding, of one."""
        packed = [row if isinstance(row, list) else [row] for row in items]
        if self.padding_free:
            packed = [[*chain.from_iterable(packed)]]
        rows = [[item.encoded for item in row] for row in packed]
        lengths = [torch.tensor([len(sample.input_ids) for sample in row]) for row in rows]
        labels = self._pad([torch.cat([sample.labels for sample in row]) for row in rows], IGNORE_INDEX)
        weights = [torch.tensor([sample.weight for sample in row], dtype=torch.float32) for row in rows]
        batch = Batch(
            input_ids=self._pad([torch.cat([sample.input_ids for sample in row]) for row in rows], self.pad_token_id),
            labels=labels,
            position_ids=self._pad([torch.cat([torch.arange(int(n)) for n in row]) for row in lengths], 0),
            segment_ids=self._pad([torch.arange(1, len(n) + 1).repeat_interleave(n) for n in lengths], 0),
            loss_weights=self._pad([w.repeat_interleave(n) for w, n in zip(weights, lengths)], 0)
            * (labels != IGNORE_INDEX),
            kinds=pad_sequence([torch.tensor([group(sample) for sample in row]) for row in rows], True, -1),
            sample_ids=[[sample.id for sample in row] for row in rows],
        )
        if unreadable := [one for row in packed for item in row for one in item.unreadable]:
            batch['unreadable'] = unreadable
        if any(sample.attend_next is not None for row in rows for sample in row):
            placed = [[-1 if sample.attend_next is None else int(sample.attend_next) for sample in row] for row in rows]
            batch['attend_next'] = pad_sequence([torch.tensor(row) for row in placed], True, -1)
        media = [[medium.frames for one in row for medium in one.media] for row in rows]
        keys = dict.fromkeys(key for row in media for medium in row for key in medium)  # in the order they are met
        shared = {id(item.frames): item.frames for row in packed for item in row}  # of a batch mostly one
        found = {key: frame for frames in shared.values() for key, frame in frames.items()}
        frames, keys = _stacked({key: found[key] for key in keys})
        numbers = {key: number for number, key in enumerate(keys)}
        batch['media_frames'] = _pad_media([[[numbers[key] for key in medium] for medium in row] for row in media])
        return Batch(**batch, **frames)

    def _pad(self, rows: list[Tensor], value: int) -> Tensor:
        padded = pad_sequence(rows, batch_first=True, padding_value=value)
        return torch.nn.functional.pad(padded, (0, -padded.shape[1] % self.pad_to_multiple_of), value=value)


def group(row: Encoded) -> int:
    """What a sample's loss is reported under: a place in ``GROUPS``. Of a tag such as 'zh-CN' the language counts."""
    language = row.language.lower().partition('-')[0]
    return GROUPS.index((row.kind, language if language in LANGUAGES else 'other'))


def _stacked(frames: dict[FrameKey, Tensor | CachedFrame]) -> tuple[Batch, list[FrameKey]]:
    """Distinct frames as the entries of a batch, and their order there: what a cache had comes first."""
    cached = {key: frame.features for key, frame in frames.items() if _is_cached(frame)}
    others = {key: frame for key, frame in frames.items() if key not in cached}
    batch = Batch()
    if cached:
        batch['vision_features'] = torch.stack(list(cached.values()))
    if others:
        asked = [frame for frame in others.values() if isinstance(frame, CachedFrame)]
        batch['frames'] = torch.stack([frame.pixels for frame in asked] or list(others.values()))
        if asked:
            batch['frame_digests'] = [frame.digest for frame in asked]
    return batch, [*cached, *others]


def _is_cached(frame: Tensor | CachedFrame) -> bool:
    return isinstance(frame, CachedFrame) and frame.features is not None


def _pad_media(media: list[list[list[int]]]) -> Tensor:
    """(R, M, F) int64 of ragged lists, -1 where there is none."""
    most_media = max(map(len, media))
    most_frames = max((len(frames) for frames in chain.from_iterable(media)), default=0)
    padded = torch.full((len(media), most_media, most_frames), -1)
    for r, row in enumerate(media):
        for m, frames in enumerate(row):
            padded[r, m, : len(frames)] = torch.tensor(frames)
    return padded
