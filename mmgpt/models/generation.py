"""What a generation never writes."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LogitsProcessor


class Never(LogitsProcessor):
    """Rules out one token. Hugging Face's ``suppress_tokens`` looks through the whole vocabulary at each step instead.

    Args:
        token_id: the token.
    """

    def __init__(self, token_id: int) -> None:
        self.token_id = token_id
        self._index: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The scores (R, V) with that of the token at minus infinity."""
        if self._index is None or self._index.device != scores.device:
            self._index = torch.tensor([self.token_id], device=scores.device)
        return scores.index_fill(-1, self._index, -torch.inf)
