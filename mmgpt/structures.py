"""The values that travel from an annotation file to the loss. They hold data and no behaviour.

Letters in shapes: N distinct frames of a batch, R rows, S tokens of a row, M media of a row, F frames of a medium,
P patches of a frame, L latents of a medium, D width.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

from torch import Tensor

Role = Literal['system', 'user', 'assistant']
Kind = Literal['text', 'image', 'video']
KINDS: tuple[Kind, ...] = ('text', 'image', 'video')
LANGUAGES = ('', 'en', 'zh', 'es', 'ja', 'fr', 'ko', 'ar', 'de', 'other')  # '' = not said
GROUPS = tuple((kind, language) for language in LANGUAGES for kind in KINDS)  # what losses are reported apart for
IGNORE_INDEX = -100  # a label that is not trained


@dataclass(frozen=True)
class Medium:
    """What one ``<image>`` mark stands for: one picture, or the frames of a video or of a picture set."""

    frames: tuple[Hashable, ...]  # keys of an image store, or pictures themselves (inference)

    def __post_init__(self) -> None:
        if isinstance(self.frames, str | bytes):  # its letters would be frames
            raise TypeError(f'the frames of a Medium are a tuple, got {self.frames!r:.80}: a single one is (frame,)')


@dataclass(frozen=True)
class Turn:
    """One utterance; its media come before its text."""

    role: Role
    text: str
    media: tuple[Medium, ...] = ()
    input: str = ''  # what an instruction is about, where that stands apart from it: a passage, the options


@dataclass(frozen=True)
class Sample:
    """One record of a source: its turns, and the ids of the samples that may be shown before it."""

    id: str
    turns: tuple[Turn, ...]
    context_ids: tuple[str, ...] = ()
    kind: Kind = 'text'
    source: str = ''
    weight: float = 1.0
    language: str = ''  # a tag such as 'en' or 'zh-CN', where it is known


@dataclass(frozen=True)
class Encoded:
    """A sample as token ids. ``labels`` are unshifted: position i is trained to be predicted from those before it."""

    id: str
    input_ids: Tensor  # (S,) int64
    labels: Tensor  # (S,) int64, IGNORE_INDEX = not trained
    media: tuple[Medium, ...]  # in the order of the <image> marks
    context_ids: tuple[str, ...] = ()
    kind: Kind = 'text'
    weight: float = 1.0
    language: str = ''  # as of the sample
    attend_next: bool | None = None  # its text sees the next medium, not the previous one; None = the model's attend


class Unreadable(NamedTuple):
    """A sample that could not be read, and the one that took its place."""

    source: str
    index: int
    epoch: int
    reason: str
    replaced_by: str  # the id


class Batch(TypedDict, total=False):
    """What the collate function gives and ``Flamingo.compute_loss`` takes."""

    input_ids: Tensor  # (R, S) int64
    labels: Tensor  # (R, S) int64, unshifted
    position_ids: Tensor  # (R, S) int64, restarted at each sample of a packed row
    segment_ids: Tensor  # (R, S) int64, 0 = pad, 1..k = the samples of a row
    frames: Tensor  # (N, 3, H, W) uint8, each distinct one once
    vision_features: Tensor  # (C, P, D) of frames that are not in ``frames``: what the vision encoder made of them
    frame_digests: list[bytes]  # (N,) by which a feature cache knows ``frames``
    media_frames: Tensor  # (R, M, F) int64 into C + N, those with features first; -1 = none
    loss_weights: Tensor  # (R, S) float32
    kinds: Tensor  # (R, K) int64 into GROUPS: kind and language of segment k + 1 of a row, -1 = none
    attend_next: Tensor  # (R, K) int64: segment k + 1 sees the next medium 1, the previous one 0, the model's -1
    blank_media: bool  # its only medium stands for those of other processes' batches; no text has a mark for it
    sample_ids: list[list[str]]  # of each row, in the order of its segments
    unreadable: list[Unreadable]  # what could not be read, and was replaced


class Media(NamedTuple):
    """What one call of the decoder may look at. It travels as an argument; nothing of it stays on a layer."""

    latents: Tensor | None  # (R, M, L, D)
    span: Tensor  # (R, S, 2) int64: a token sees the media lo <= m < hi
    gated: Tensor | None  # (R, S) bool: False where the gated block is skipped; None: nowhere
    keys_values: dict[int, tuple[Tensor, Tensor]] | None = None  # per layer (R, heads, M * L, head width), else latents
    mask: Tensor | None = None  # (R, 1, S, M * L) bool: the span over latents, made once and shared by all layers;
    # keys and values without one: all tokens see all of them
    pieces: tuple[Grid, ...] | None = None  # the samples of packed rows, each best looked at by itself, without a mask
    size: int | None = None  # L, where keys and values stand instead of latents
    marks: Tensor | None = None  # (R,) int64: marks of each row before this call, where it continues a text
    blind: bool = True  # False: it is known that all tokens of a sample with media see some of them
    weights: dict[int, Tensor] | None = None  # given by one who looks on: each block puts its attention's weights
    # (R, heads, S, M * L) here, by layer


class Part(NamedTuple):
    """A sample of a packed row with its media, the only ones that its tokens may see."""

    row: int
    start: int  # tokens start <= s < end of the row
    end: int
    lo: int  # media lo <= m < hi of the row; none where lo == hi
    hi: int


class Slots(NamedTuple):
    """Where the tokens of a grid's pieces lie in the flattened rows."""

    places: Tensor | slice  # (t,) int64, of the tokens in the order of their slots; a slice where there is one piece
    filled: Tensor | None  # (t,) int64, the slots they have in the flattened grid; None: all of them


class Grid(NamedTuple):
    """Pieces of rows that go through attention together, each with keys of its own, padded to the longest of them."""

    pieces: int
    queries: int  # of the longest piece
    keys: int
    members: tuple[int, ...]  # their places in the list of all pieces
    asking: Slots
    seen: Slots
    mask: Tensor | None = None  # (pieces or 1, 1, queries, keys) bool
