"""Looking inside: where in the pictures the model looked when it said each word of an answer."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import isqrt
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mmgpt.hub.messages import Conversation, read_messages
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.cross_attention import GatedBlock
from mmgpt.models.media import look
from mmgpt.models.vision_encoders.normalisation import encode_frames


@dataclass(frozen=True)
class MediumMap:
    """Where the words of an answer looked in one medium: a picture, or the frames of a video or set.

    Args:
        frames: the pictures, as the model sees them: resized or cropped to its square.
        weights: (T, B, F, rows, columns) of T words or tokens, B gated blocks, F frames and the grid of patches.
    """

    frames: tuple[Image.Image, ...]
    weights: Tensor


@dataclass(frozen=True)
class Inside:
    """What ``look_inside`` found.

    Over all media, the weights of one word and block sum to 1, or are all 0 where the word sees no medium.

    Args:
        pieces: the words or tokens of the answer; joined they are the answer.
        layers: the layers of the language model that have a gated block before them.
        gates: tanh of each block's two gates: attention's and feed-forward's; of a gate per channel the mean.
        media: one map for each, in the order of their marks.
    """

    pieces: tuple[str, ...]
    layers: tuple[int, ...]
    gates: tuple[tuple[float, float], ...]
    media: tuple[MediumMap, ...]

    def words(self) -> Inside:
        """The same for whole words, whose weights are the mean of their tokens'."""
        numbers = word_numbers(self.pieces)
        groups = [[i for i, _ in group] for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1])]
        pieces = tuple(''.join(self.pieces[i] for i in group) for group in groups)
        media = tuple(
            replace(medium, weights=torch.stack([medium.weights[group].mean(0) for group in groups]))
            for medium in self.media
        )
        return replace(self, pieces=pieces, media=media)


@torch.inference_mode()
def look_inside(model: Any, processor: FlamingoProcessor, messages: Conversation) -> Inside:
    """Where the model looked when it said each token of its last answer.

    The finished conversation runs through the model once more, and each gated block (Flamingo, arXiv 2204.14198,
    section 2.2) says the weights with which each token attends to the latents; heads are averaged. A token's weights
    are those of the place from which it was predicted, that of the token before it. Latents are no places in a
    picture, so their weights are carried on to the patches that each latent was made of: attention rollout (arXiv
    2005.00928) through the layers of the resampler, see ``PerceiverResampler.patch_weights``. Attention shows what a
    block read, not why an answer was given; a block whose gate is near 0 changes nothing, whatever it reads.

    Args:
        model: a ``Flamingo``; nothing of it is changed, so others may use it at the same time.
        processor: its processor.
        messages: a conversation that ends with the assistant's answer.

    Returns:
        Maps for each token; ``.words()`` joins tokens to words.

    Raises:
        ValueError: the conversation does not end with an answer, or the resampler cannot tell what latents are made of.

    Example::

        answer = chat.ask('What digit is this?', images=['seven.png']).text
        inside = look_inside(model, processor, chat.messages).words()
        inside.media[0].weights[0].mean(0)  # of the first word, in the mean of the blocks: (frames, rows, columns)
    """
    turns = read_messages(messages, processor.num_frames)
    if not turns or turns[-1].role != 'assistant' or not turns[-1].text.strip():
        raise ValueError('there is no answer to look into: the last message must be one of the assistant, with a text')
    if not hasattr(model.resampler, 'patch_weights'):
        raise ValueError(
            f'{type(model.resampler).__name__} cannot tell which patches its latents are made of: give it a method '
            'patch_weights as PerceiverResampler has it'
        )
    prompter = processor.prompter
    start = len(prompter.encode(turns[:-1], generate=True).input_ids)
    tokens = prompter.encode(turns, continue_last=True)
    ids = tokens.input_ids.to(model.device)[None]
    seen = [torch.stack([prompter.frame(frame) for frame in medium.frames]) for medium in tokens.media]
    encoded = [_encode(model, frames, place) for place, frames in enumerate(seen)]
    latents = torch.stack([made for made, _ in encoded], 1) if encoded else None
    weights: dict[int, Tensor] = {}
    media = look(model.config, ids, None, latents)
    if media is not None:
        model(input_ids=ids, media=media._replace(weights=weights), use_cache=False, logits_to_keep=1)
    blocks = {int(name): block for name, block in model.gated_blocks.items() if isinstance(block, GatedBlock)}
    maps = []
    for place, (frames, (_, shares)) in enumerate(zip(seen, encoded, strict=True)):
        of_medium = [_to_medium(weights[layer], start, len(encoded), place) for layer in blocks]
        spread = torch.einsum('btl,lfp->tbfp', torch.stack(of_medium), shares).cpu()
        pictures = tuple(Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in frames)
        maps.append(MediumMap(pictures, spread.unflatten(-1, _grid(spread.shape[-1]))))
    gates = tuple(
        tuple(float(gate.detach().float().tanh().mean()) for gate in (block.attn_gate, block.ff_gate))
        for block in blocks.values()
    )
    return Inside(_pieces(processor, ids[0, start:]), tuple(blocks), gates, tuple(maps))


def word_numbers(pieces: Sequence[str]) -> list[int]:
    """The number of the word that each piece of a text belongs to.

    A word begins with a blank before it, and in scripts without blanks with every sign. A piece that is no more than
    a blank, or the first bytes of a sign, belongs to the text that follows.

    Example:
        >>> word_numbers(['A', ' se', 'ven', '.', ' 七', '月'])
        [0, 1, 1, 1, 2, 3]
    """
    numbers, word, before = [], -1, ' '
    text, waiting = '', 0  # of pieces that have no text but blanks yet
    for piece in pieces:
        text, waiting = text + piece, waiting + 1
        if text.strip():
            alone = _stands_alone(text[0]) or (_stands_alone(before[-1]) and text[0].isalnum())
            word += before[-1].isspace() or text[0].isspace() or alone
            numbers += [word] * waiting
            before, text, waiting = text, '', 0
    return numbers + [max(word, 0)] * waiting


def _stands_alone(sign: str) -> bool:
    return unicodedata.category(sign) == 'Lo' and unicodedata.east_asian_width(sign) == 'W'


def _pieces(processor: FlamingoProcessor, ids: Tensor) -> tuple[str, ...]:
    """What each token adds to the text; '' for one that is the beginning of a sign."""
    pieces, told = [], ''
    for end in range(1, len(ids) + 1):
        text = processor.tokenizer.decode(ids[:end], skip_special_tokens=True)
        if text.endswith('�') and end < len(ids):
            text = told
        pieces.append(text[len(told) :])
        told = text
    return tuple(pieces)


def _encode(model: Any, frames: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Latents (1, L, D) of a medium with the frames (F, 3, H, W), and what they are made of (L, F, P)."""
    features = encode_frames(model.vision_encoder, frames.to(model.device))
    features = features.to(next(model.resampler.parameters(), features).dtype)[None]
    index = torch.tensor([place], device=model.device)
    return model.resampler(features, None, index), model.resampler.patch_weights(features, None, index)[0]


def _to_medium(weights: Tensor, start: int, media: int, place: int) -> Tensor:
    """(T, L): the attention to one medium of the places from which the tokens after ``start`` were predicted."""
    return weights[0, :, start - 1 : -1].mean(0).unflatten(-1, (media, -1))[:, place]


def _grid(patches: int) -> tuple[int, int]:
    """Rows and columns of the patches of a square picture."""
    side = isqrt(patches)
    return (side, side) if side * side == patches else (1, patches)
