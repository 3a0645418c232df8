"""Runs two models on the same inputs and compares what they compute."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmgpt.hub.convert.report import ConversionError
from mmgpt.hub.io import load_folder, locate

LENGTH = 24  # tokens of each row


class Difference(NamedTuple):
    """The largest difference of two models' logits, for each kind of input."""

    by_case: dict[str, float]
    tolerance: float

    @property
    def largest(self) -> float:
        """Over all inputs; NaN where a model gives one."""
        return float(torch.tensor(list(self.by_case.values())).max())

    @property
    def ok(self) -> bool:
        """Whether it is within the tolerance."""
        return self.largest <= self.tolerance

    def __str__(self) -> str:
        rows = [f'{case}: {value:.3g}' for case, value in self.by_case.items()]
        verdict = 'within' if self.ok else 'above'
        return '\n'.join([*rows, f'largest logit difference: {self.largest:.3g}, {verdict} {self.tolerance:g}'])


def verify(a: str, b: str, tolerance: float = 1e-5, seed: int = 0) -> Difference:
    """Compares two model folders on text, one picture, several pictures and rows that are padded on either side.

    The models are loaded one after the other, so only one is in memory at a time.

    Args:
        a, b: model folders or hub ids.
        tolerance: what ``Difference.ok`` asks for. Default: 1e-5.
        seed: of the inputs.

    Raises:
        OSError: there is no such folder.
        ConversionError: the two cannot be given the same inputs, or have vocabularies of different sizes.
    """
    for name in (a, b):
        locate(name)  # raises before the first of them is loaded
    (one, sizes), (other, other_sizes) = (_logits(name, seed) for name in (a, b))
    for what, value in sizes.items():
        if value != other_sizes[what]:
            raise ConversionError(f'{a} and {b} differ in {what}: {value} and {other_sizes[what]}')
    by_case = {case: float((one[case] - other[case]).abs().max()) for case in one}
    return Difference(by_case, tolerance)


@torch.no_grad()
def _logits(name: str, seed: int) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The logits of each case at real tokens, and what two models must share for a comparison."""
    model, _ = load_folder(name, device='cpu')
    mark, rows = model.config.media_token_id, model.get_input_embeddings().num_embeddings
    size = model.vision_encoder.image_size
    sizes = {'rows of the embedding': rows, 'size of pictures': size, 'id of <image>': mark}
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(rows - 1, (3, LENGTH), generator=generator)
    ids += ids >= mark  # any token but the mark
    pixels = torch.randn(3, 3, 1, 3, size, size, generator=generator)
    cases = {}
    for case, marks in {'text': (0, 0, 0), 'one picture': (1, 1, 1), 'several pictures': (1, 2, 3)}.items():
        text = ids.clone()
        for row, count in enumerate(marks):
            text[row, torch.arange(count) * 6 + 2] = mark
        media = {'pixel_values': pixels[:, : max(marks)]} if any(marks) else {}
        for side in ('right', 'left'):
            attention = torch.ones_like(text)
            hidden = slice(LENGTH - 3, None) if side == 'right' else slice(0, 2)
            attention[1, hidden] = 0
            out = model(input_ids=text, attention_mask=attention, **media).logits[attention == 1]
            cases[f'{case}, padded on the {side}'] = out.float()
    return cases, sizes
