"""How answers are generated, and how they are watched while they grow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from mmgpt.inference.answer_text import AnswerText


@dataclass(frozen=True)
class GenerationSettings:
    """How an answer is generated.

    Args:
        max_new_tokens: at most that many.
        temperature: 0 takes the likeliest token each time (greedy, or beams); above 0 draws. Below 1e-5 it counts as 0.
        top_p: draws among the likeliest tokens that together have this probability.
        num_beams: more than 1 searches with beams; not together with a temperature.
        no_repeat_ngram_size: no run of that many tokens occurs twice; 0 allows all.
        stop: strings at which an answer ends, beside the template's own stop token; they are no part of it.
        seed: of the draws, an integer of 64 bits; None: another one each time.

    Raises:
        ValueError: a value out of its range.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    num_beams: int = 1
    no_repeat_ngram_size: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self):
        for name, good, range_ in [
            ('max_new_tokens', self.max_new_tokens >= 1, 'at least 1'),
            ('temperature', 0 <= self.temperature < math.inf, 'at least 0 and finite'),
            ('seed', self.seed is None or -(2**63) <= self.seed < 2**63, 'an integer of 64 bits'),
            ('top_p', 0 < self.top_p <= 1, 'above 0 and at most 1'),
            ('num_beams', self.num_beams >= 1, 'at least 1'),
            ('no_repeat_ngram_size', self.no_repeat_ngram_size >= 0, 'at least 0'),
        ]:
            if not good:
                raise ValueError(f'{name} must be {range_}, got {getattr(self, name)}')
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise ValueError(f'stop must be a tuple of strings that are not empty, got {self.stop!r}')
        if self.num_beams > 1 and self.draws:
            raise ValueError(f'beams ({self.num_beams}) do not draw: temperature must be 0, got {self.temperature}')

    @property
    def draws(self) -> bool:
        """Whether tokens are drawn. So small a temperature that logits overflow is none."""
        return self.temperature >= 1e-5

    def within(self, limit: int | None, length: int) -> GenerationSettings:
        """The settings with no more new tokens than a model takes after a prompt.

        Args:
            limit: tokens that prompt and answer may have together, see :func:`context_length`.
            length: of the prompt.

        Raises:
            ValueError: the prompt leaves no room.
        """
        if limit is None or length + self.max_new_tokens <= limit:
            return self
        if length >= limit:
            raise ValueError(
                f'the prompt has {length} tokens and the model takes {limit} with the answer: shorten it, or ask anew'
            )
        return replace(self, max_new_tokens=limit - length)

    def changed(self, name: str, value: str) -> GenerationSettings:
        """The settings with one that a user typed.

        Raises:
            ValueError: there is no such setting, or the text is no value of it.
        """
        kinds = {field.name: type(field.default) for field in fields(self)}
        if name not in kinds:
            raise ValueError(f'there is no setting {name!r}; there are: {", ".join(kinds)}')
        if name == 'stop':
            return replace(self, stop=tuple(value.split()))
        if name == 'seed':
            return replace(self, seed=int(value) if value else None)
        return replace(self, **{name: kinds[name](value)})

    def arguments(self) -> dict[str, Any]:
        """The keywords of Hugging Face's ``generate``."""
        arguments = {
            'max_new_tokens': self.max_new_tokens,
            'num_beams': self.num_beams,
            'no_repeat_ngram_size': self.no_repeat_ngram_size,
            'do_sample': self.draws,
        }
        if self.draws:
            arguments |= {'temperature': self.temperature, 'top_p': self.top_p, 'top_k': 0}
        return arguments


def context_length(config: Any) -> int | None:
    """Tokens that prompt and answer may have together; None: no limit is known.

    Args:
        config: of the model.
    """
    names = ('max_position_embeddings', 'max_seq_len', 'n_positions')
    return next((found for name in names if (found := getattr(config.text_config, name, None) or 0) > 0), None)


class Follower(StoppingCriteria):
    """Follows a generation of one row: hands on each piece of text that is certain, and ends it at a stop string.

    Args:
        text: makes text of the tokens.
        start: how many tokens there are before the answer.
        on_text: called with each piece; None: nobody is told.
    """

    def __init__(self, text: AnswerText, start: int, on_text: Callable[[str], None] | None = None) -> None:
        self.text = text
        self.seen = start
        self._on_text = on_text

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """(1,) bool: the answer ended."""
        self.follow(input_ids[0])
        return torch.full((len(input_ids),), self.text.stopped, device=input_ids.device)

    def follow(self, ids: Tensor) -> None:
        """Takes what is new of a row (S,)."""
        for token in ids[self.seen :].tolist():
            self._tell(self.text.add(token))
        self.seen = len(ids)

    def end(self) -> str:
        """The whole answer: there are no more tokens."""
        self._tell(self.text.end())
        return self.text.text

    def _tell(self, piece: str) -> None:
        if piece and self._on_text is not None:
            self._on_text(piece)
