"""A look inside as JSON, small enough to be sent: weights as bytes."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import torch

from mmgpt.data.picture_bytes import data_url, encoded
from mmgpt.inference.look_inside import Inside


def inside_as_json(inside: Inside) -> dict[str, Any]:
    """What the page draws.

    ``media[m].weights`` is base64 of one byte for each of (words, blocks, frames, rows, columns): 255 is the greatest
    weight of that word and block over all media, which ``peaks`` (words, blocks) tells. ``media[m].shares`` (words,
    blocks, frames) is how much of the attention each frame has.
    """
    blocks = (len(inside.pieces), len(inside.layers))
    weights = [medium.weights for medium in inside.media]
    peaks = torch.stack([w.amax((2, 3, 4)) for w in weights]).amax(0) if weights else torch.zeros(blocks)
    scale = 255 / peaks.clamp(min=1e-12)[..., None, None, None]
    return {
        'words': inside.pieces,
        'layers': inside.layers,
        'gates': inside.gates,
        'peaks': _rounded(peaks),
        'media': [
            {
                'frames': [data_url(encoded(frame)) for frame in medium.frames],
                'grid': list(medium.weights.shape[3:]),
                'weights': b64encode((medium.weights * scale).round().byte().contiguous().numpy().tobytes()).decode(),
                'shares': _rounded(medium.weights.sum((3, 4))),
            }
            for medium in inside.media
        ],
    }


def _rounded(values: torch.Tensor) -> list:
    return torch.round(values.double(), decimals=5).tolist()
