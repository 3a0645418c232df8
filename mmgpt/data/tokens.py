"""Text becomes token ids, and labels are made: here and nowhere else."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AddedToken, PreTrainedTokenizerBase

from mmgpt.data.templates import Piece, Rendered, Template
from mmgpt.structures import IGNORE_INDEX, Medium


class Tokens(NamedTuple):
    """A rendered text as ids. ``labels`` are unshifted, ``IGNORE_INDEX`` = not trained."""

    input_ids: Tensor  # (S,) int64
    labels: Tensor  # (S,) int64
    media: tuple[Medium, ...]  # those whose mark is still there, in the order of the marks
    cut: int  # how many tokens of the text were beyond the limit


def encode(
    rendered: Rendered,
    tokenizer: PreTrainedTokenizerBase,
    media_token: str,
    max_seq_len: int | None = None,
) -> Tokens:
    """Makes ids and labels of a rendered text.

    Each piece is tokenised as one whole; supervised spans find their tokens by character offsets, and a token on a
    border is trained only when it lies wholly inside. The limit counts the tokens of the text, cut on the right;
    beginning and end of text come on top, as in Otter's loader, and a span that the limit cuts into is not trained at
    all: half an answer before an end teaches to stop anywhere. Where a piece says that its ends count, as in
    MultiModal-GPT's, a cut piece has no end and what is left of its span is trained. A piece of which nothing is left
    goes altogether.

    Args:
        rendered: of a template.
        tokenizer: a fast tokenizer that :func:`check_tokenizer` accepts.
        media_token: the mark of a medium.
        max_seq_len: limit of the text's tokens; None = no limit.

    Raises:
        ValueError: the marks in the text are not as many as the media, or a supervised span reaches beyond its text.
    """
    ids: list[int] = []
    labels: list[int] = []
    room, cut = math.inf if max_seq_len is None else max_seq_len, 0
    for number, piece in enumerate(rendered.pieces):
        bos = [tokenizer.bos_token_id] if piece.bos and tokenizer.bos_token_id is not None else []
        room -= len(bos) * piece.ends_count
        piece_ids, piece_labels = _encode_piece(piece, tokenizer, room)
        kept = max(0, min(room, len(piece_ids)))
        cut += len(piece_ids) - kept
        room -= kept
        if number and not kept:
            continue  # nothing is left of it, and nothing of those that follow
        eos = [tokenizer.eos_token_id] if piece.eos and (room > 0 or not piece.ends_count) else []
        room -= len(eos) * piece.ends_count
        ids += bos + piece_ids[:kept] + eos
        ends = eos if piece.train_eos else [IGNORE_INDEX] * len(eos)
        labels += [IGNORE_INDEX] * len(bos) + piece_labels[:kept] + ends
    if labels:
        labels[0] = IGNORE_INDEX  # nothing comes before it that could predict it
    marks = ids.count(tokenizer.convert_tokens_to_ids(media_token))
    if marks > len(rendered.media) or (marks < len(rendered.media) and not cut):
        raise ValueError(f'the text has {marks} {media_token!r} marks for {len(rendered.media)} media')
    return Tokens(torch.tensor(ids), torch.tensor(labels), rendered.media[:marks], cut)


def _encode_piece(piece: Piece, tokenizer: PreTrainedTokenizerBase, room: float) -> tuple[list[int], list[int]]:
    for start, end in piece.supervised:
        if not 0 <= start <= end <= len(piece.text):
            raise ValueError(
                f'the template gave the supervised span ({start}, {end}) of a text of {len(piece.text)} characters: '
                f'{piece.text!r:.200}'
            )
    try:
        encoding = tokenizer(piece.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    except TypeError as error:  # what the tokenizers library makes of such text
        shown = repr(piece.text)[:200]
        raise ValueError(f'the text holds half of a surrogate pair, which is no character: {shown}') from error
    ids = encoding['input_ids']
    if not piece.supervised or not ids:
        return ids, [IGNORE_INDEX] * len(ids)
    starts, ends = np.array(encoding['offset_mapping']).T
    # Byte-level tokenizers leave blanks out of the offsets: a token begins at the latest where the one before ended.
    starts = np.minimum(starts, np.concatenate([[0], np.maximum.accumulate(ends)[:-1]]))
    labels = np.full(len(ids), IGNORE_INDEX)
    for start, end in piece.supervised:
        inside = np.flatnonzero((starts >= start) & (starts < end) & (ends <= end))
        if len(inside) and (inside[-1] < room or piece.ends_count):
            labels[inside] = np.array(ids)[inside]
    return ids, labels.tolist()


def add_special_tokens(tokenizer: PreTrainedTokenizerBase, template: Template) -> int:
    """Adds the template's special tokens that the tokenizer lacks, and ``<PAD>`` if it has no padding token.

    Returns:
        How many were added: so many rows the model's embedding needs more.
    """
    vocabulary = tokenizer.get_vocab()
    wanted = [token for token in template.special_tokens if token not in vocabulary]
    added = tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in wanted], True)
    if tokenizer.pad_token is None:
        added += tokenizer.add_special_tokens({'pad_token': '<PAD>'})
    return added


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
    """Refuses a tokenizer with which the template's text would not be what it says.

    Raises:
        ValueError: it gives no offsets, splits a special token, or lacks an end-of-text or padding token.
    """
    name = f'the tokenizer {tokenizer.name_or_path!r}'
    if not tokenizer.is_fast:
        raise ValueError(f'{name} gives no character offsets: use a fast tokenizer (a folder with tokenizer.json)')
    for token in template.special_tokens:
        ids = tokenizer(f'a {token}b', add_special_tokens=False)['input_ids']
        number = tokenizer.convert_tokens_to_ids(token)
        if number is None or number == tokenizer.unk_token_id or ids.count(number) != 1:
            pieces = tokenizer.convert_ids_to_tokens(tokenizer(token, add_special_tokens=False)['input_ids'])
            raise ValueError(
                f'{name} splits {token!r} into {pieces}: add it as a special token first '
                '(mmgpt.data.tokens.add_special_tokens), and resize the embedding of the model'
            )
    if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
        raise ValueError(
            f'{name} needs an end-of-text and a padding token, it has eos_token={tokenizer.eos_token!r} '
            f'and pad_token={tokenizer.pad_token!r}'
        )
