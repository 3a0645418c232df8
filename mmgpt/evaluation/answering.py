"""Questions in, answers out: what every evaluation task asks a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


@torch.no_grad()
def answer(
    model: Any,
    processor: Any,
    conversations: Sequence[Sequence[dict[str, Any]]],
    batch_size: int = 64,
    max_new_tokens: int = 8,
) -> list[str]:
    """The model's greedy answers to conversations.

    Args:
        model: a ``Flamingo``.
        processor: its processor.
        conversations: chat messages, the last one waiting for its answer.
        batch_size: how many are answered together.
        max_new_tokens: of an answer.

    Returns:
        The answers' texts in the order of the conversations, without special tokens and outer blanks.
    """
    answers: list[str] = []
    device = next(model.parameters()).device
    for start in range(0, len(conversations), batch_size):
        inputs = processor.apply_chat_template(
            list(conversations[start : start + batch_size]),
            add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt',
        ).to(device)  # fmt: skip
        output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        written = output[:, inputs['input_ids'].shape[1] :]
        answers += [text.strip() for text in processor.tokenizer.batch_decode(written, skip_special_tokens=True)]
    return answers
