"""Samples of realistic lengths, and the batches that each model makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from bench.models import ADDED, SIZES

PROMPT, MEDIAN, SIGMA, LONGEST = 25, 60, 1.0, 512  # tokens; answers are log-normal
IGNORE = -100


@dataclass(frozen=True)
class Made:
    """A sample: a prompt that holds the marks of its pictures, and an answer."""

    ids: Tensor  # (S,)
    labels: Tensor  # (S,), IGNORE in the prompt
    pixels: Tensor  # (M, 3, H, W), normalised


def answer_lengths(count: int, rng: np.random.Generator) -> list[int]:
    """Lengths at evenly spaced quantiles of the distribution, in random order: few samples stand for many."""
    quantiles = (np.arange(count) + 0.5) / count
    normal = np.array([NormalDist().inv_cdf(quantile) for quantile in quantiles])
    return rng.permutation(np.exp(np.log(MEDIAN) + SIGMA * normal).clip(1, LONGEST).astype(int)).tolist()


def mixture(count: int, images: int = 1, text_only: float = 0.0, sizes: dict = SIZES) -> list[Made]:
    """Samples with ``images`` pictures each, all distinct; of those a share without any."""
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    bare = set(rng.permutation(count)[: round(text_only * count)].tolist())
    vocabulary, side = sizes['text']['vocabulary'], sizes['image']
    samples = []
    for number, answer in enumerate(answer_lengths(count, rng)):
        media = 0 if number in bare else images
        ids = torch.randint(3, vocabulary, (PROMPT + answer,), generator=generator)
        ids[torch.arange(media) * (PROMPT // max(media, 1))] = vocabulary + ADDED - 1
        labels = ids.clone()
        labels[:PROMPT] = IGNORE
        pixels = torch.randn(media, 3, side, side, generator=generator)
        samples.append(Made(ids, labels, pixels))
    return samples


def targets(samples: list[Made]) -> int:
    """Tokens that are trained."""
    return sum(int((sample.labels[1:] != IGNORE).sum()) for sample in samples)


def packed(samples: list[Made], features: Tensor | None = None) -> dict[str, Tensor]:
    """All samples in one row, as ``Batch`` says; with the features of the pictures instead of their pixels if given."""
    pictures = torch.cat([sample.pixels for sample in samples])
    batch = {
        'input_ids': torch.cat([sample.ids for sample in samples])[None],
        'labels': torch.cat([sample.labels for sample in samples])[None],
        'position_ids': torch.cat([torch.arange(len(sample.ids)) for sample in samples])[None],
        'segment_ids': torch.cat([torch.full_like(s.ids, n + 1) for n, s in enumerate(samples)])[None],
    }
    if len(pictures):
        batch['media_frames'] = torch.arange(len(pictures))[None, :, None]
        batch |= {'frames': pictures} if features is None else {'vision_features': features}
    return batch


def padded(samples: list[Made], mark: int) -> dict[str, Tensor]:
    """One sample a row, as Idefics takes them; it insists on a picture in every row, which nothing has to look at."""
    longest, images = max(len(s.ids) for s in samples), max(1, *(len(s.pixels) for s in samples))
    ids = torch.zeros(len(samples), longest, dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORE), torch.zeros_like(ids)
    pixels = samples[0].pixels.new_zeros(len(samples), images, *samples[0].pixels.shape[1:])
    for row, sample in enumerate(samples):
        size = len(sample.ids)
        ids[row, :size], labels[row, :size], mask[row, :size] = sample.ids, sample.labels, 1
        pixels[row, : len(sample.pixels)] = sample.pixels
    seen = (ids == mark).cumsum(1)
    looks = (torch.arange(1, images + 1) == seen.unsqueeze(-1)) & mask.bool().unsqueeze(-1)
    return {
        'input_ids': ids,
        'attention_mask': mask,
        'pixel_values': pixels,
        'image_attention_mask': looks.long(),
        'labels': labels,
    }
