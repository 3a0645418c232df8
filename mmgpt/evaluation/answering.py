"""Questions in, answers out: what every evaluation task asks a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmgpt.evaluation.shares import in_shares


@torch.no_grad()
def answer(
    model: Any,
    processor: Any,
    conversations: Sequence[Sequence[dict[str, Any]]],
    batch_size: int = 64,
    max_new_tokens: int = 8,
) -> list[str]:
    """The model's greedy answers to conversations; collective, the processes of a run share the batches.

    Args:
        model: a ``Flamingo``.
        processor: its processor.
        conversations: chat messages, the last one waiting for its answer.
        batch_size: how many are answered together.
        max_new_tokens: of an answer.

    Returns:
        The answers' texts in the order of the conversations, without special tokens and outer blanks.
    """
    device = next(model.parameters()).device

    def answer_batch(batch: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
        inputs = processor.apply_chat_template(
            list(batch), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt'
        ).to(device)
        output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        written = output[:, inputs['input_ids'].shape[1] :]
        return [text.strip() for text in processor.tokenizer.batch_decode(written, skip_special_tokens=True)]

    return in_shares(conversations, answer_batch, batch_size)
