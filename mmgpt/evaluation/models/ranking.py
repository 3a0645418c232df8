"""Log-probabilities of choices behind a prompt that is computed already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

LOGITS = 2**28  # bytes of logits that are made at a time


@lru_cache(maxsize=4096)
def _ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)['input_ids'])


def choice_tokens(tokenizer: Any, prompt: str, choices: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens of each choice where it stands behind a prompt.

    Prompt and choice are tokenised as one text, so that a choice has the tokens that it had in training; where that
    changes the prompt's last token, the choice is tokenised by itself.

    Args:
        tokenizer: the model's.
        prompt: its last special token and what follows decide; what stands before has no part in the tokens behind.
        choices: the texts.

    Raises:
        ValueError: a choice is empty.
    """
    specials = tokenizer.all_special_tokens + list(tokenizer.added_tokens_encoder)
    start = max((prompt.rfind(token) for token in specials), default=0)
    end = prompt[max(start, 0) :][-2000:]
    begun = _ids(tokenizer, end)
    found = []
    for choice in choices:
        whole = _ids(tokenizer, end + choice)
        behind = whole[len(begun) :] if whole[: len(begun)] == begun else _ids(tokenizer, choice)
        if not behind:
            raise ValueError(f'the choice {choice!r} has no tokens')
        found.append(behind)
    return found


def choice_scores(
    model: Any,
    cache: Any,
    last: Tensor,
    choices: Sequence[Sequence[tuple[int, ...]]],
    normalisation: str,
    repeated: Callable[[Any, int], Any],
) -> list[list[float]]:
    """The log-probability of each choice of each prompt; the prompts are not computed again.

    Args:
        model: takes ``input_ids`` and ``past_key_values``.
        cache: of the prompts, (B,) rows of one length without pads.
        last: (B, V) log-probabilities of the token behind each prompt.
        choices: token ids, B lists.
        normalisation: 'mean' or 'sum' over the tokens of a choice.
        repeated: gives a copy of a cache with each row so many times.
    """
    count = max(map(len, choices))
    flat = [few[number] if number < len(few) else few[-1] for few in choices for number in range(count)]
    rows = torch.arange(len(choices), device=last.device).repeat_interleave(count)
    first = torch.tensor([tokens[0] for tokens in flat], device=last.device)
    sums = last[rows, first].double()
    longest = max(map(len, flat))
    if longest > 1:
        # what begins alike could share more, but choices are short; those of one length stand together
        step = max(1, LOGITS // (4 * longest * last.shape[-1] * len(choices)))
        for start in range(0, count, step):
            width = min(step, count - start)
            places = [b * count + start + n for b in range(len(choices)) for n in range(width)]
            sums[places] += _behind(model, repeated(cache, width), [flat[place] for place in places], last.device)
    lengths = torch.tensor([len(tokens) for tokens in flat], device=last.device)
    scores = (sums / lengths if normalisation == 'mean' else sums).view(len(choices), count).tolist()
    return [row[: len(few)] for row, few in zip(scores, choices, strict=True)]


def _behind(model: Any, cache: Any, flat: Sequence[tuple[int, ...]], device: torch.device) -> Tensor:
    """(N,) the summed log-probabilities of all tokens but the first."""
    longest = max(map(len, flat))
    if longest == 1:
        return torch.zeros(len(flat), dtype=torch.float64, device=device)
    ids = torch.zeros(len(flat), longest, dtype=torch.long, device=device)
    real = torch.zeros_like(ids, dtype=torch.bool)
    for number, tokens in enumerate(flat):
        ids[number, : len(tokens)] = torch.tensor(tokens, device=device)
        ids[number, len(tokens) :] = tokens[0]  # beyond its end; no token before sees it
        real[number, : len(tokens)] = True
    logits = model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).logits.float()
    given = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0].double()
    return given.masked_fill(~real[:, 1:], 0).sum(1)
