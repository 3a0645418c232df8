"""Features of pictures and texts, by which similar samples are found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.sources import Broken, Source, Unusable
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.registry import VISION_ENCODERS

T = TypeVar('T')


def load_vision_encoder(cfg: dict[str, Any]) -> nn.Module:
    """A vision encoder with its weights.

    Args:
        cfg: ``model.vision_encoder`` of a config; its ``weights`` are needed, ``dtype`` is not looked at.

    Raises:
        ValueError: it names no weights.
    """
    cfg = dict(cfg)
    weights, revision, _ = (cfg.pop(name, None) for name in ('weights', 'revision', 'dtype'))
    if weights is None:
        raise ValueError('the vision encoder names no weights: features of random ones say nothing')
    encoder = VISION_ENCODERS.build(cfg)
    encoder.load_weights(weights, revision)
    return encoder


def image_features(
    encoder: nn.Module,
    images: ImageStore,
    batch_size: int = 32,
    device: str = 'cpu',
    faults: MutableMapping[str, str] | None = None,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Keys and features (n, D) of all pictures of a store: the mean of a picture's patches.

    Args:
        encoder: a vision encoder.
        images: where the pictures lie.
        batch_size: pictures at a time.
        device: to compute on.
        faults: is told the key of each picture that cannot be read, and why, and it is left out; None: it is an error.

    Raises:
        OSError, ValueError: a picture cannot be read, and nobody is told.
    """
    encoder = encoder.to(device).eval()
    transform = ImageTransform(encoder.image_size, 'short_side_crop')
    mean, std = (torch.tensor(values, device=device).view(3, 1, 1) for values in (encoder.mean, encoder.std))

    def read(keys: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for key in keys:
            try:
                frame = transform(images.open(key))
            except (OSError, ValueError) as error:
                if faults is None:
                    raise
                faults[key] = str(error)
            else:
                yield key, frame

    for batch in _batches(read(images.keys()), batch_size):
        frames = torch.stack([frame for _, frame in batch]).to(device)
        with torch.inference_mode():
            patches = encoder((frames / 255 - mean) / std)
        yield [key for key, _ in batch], patches.float().mean(1).cpu().numpy()


def questions(source: Source, faults: MutableMapping[str, str]) -> Iterator[tuple[str, str]]:
    """Ids and questions of the samples of a source.

    Args:
        source: the samples; those that the rules of their set leave out are left out here, too.
        faults: is told each sample that cannot be read, and why.
    """
    for index in range(len(source)):
        try:
            sample = source[index]
        except (OSError, ValueError) as error:
            if isinstance(error, Broken) or not isinstance(error, Unusable):
                faults[f'{source.name}, sample {index}'] = str(error)
        else:
            yield sample.id, ' '.join(turn.text for turn in sample.turns if turn.role == 'user')


def text_features(
    name: str, texts: Iterable[tuple[str, str]], batch_size: int = 32, device: str = 'cpu'
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Keys and features (n, D) of texts: the mean of a sentence encoder's last states.

    Args:
        name: folder or hub id of a Hugging Face encoder, such as ``sentence-transformers/all-MiniLM-L6-v2``.
        texts: keys and texts.
        batch_size: texts at a time.
        device: to compute on.

    Raises:
        OSError: there is no such encoder.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name).to(device).eval()
    for batch in _batches(texts, batch_size):
        inputs = tokenizer([text for _, text in batch], padding=True, truncation=True, return_tensors='pt').to(device)
        with torch.inference_mode():
            states = model(**inputs).last_hidden_state.float()
        real = inputs['attention_mask'][..., None]
        yield [key for key, _ in batch], ((states * real).sum(1) / real.sum(1)).cpu().numpy()


def _batches(values: Iterable[T], size: int) -> Iterator[list[T]]:
    values = iter(values)
    while batch := list(islice(values, size)):
        yield batch
