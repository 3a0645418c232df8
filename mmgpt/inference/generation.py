"""How answers are generated, and how they are watched while they grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase, TextStreamer


@dataclass(frozen=True)
class GenerationSettings:
    """How an answer is generated.

    Args:
        max_new_tokens: at most that many.
        temperature: 0 takes the likeliest token each time (greedy, or beams); above 0 draws.
        top_p: draws among the likeliest tokens that together have this probability.
        num_beams: more than 1 searches with beams; not together with a temperature.
        no_repeat_ngram_size: no run of that many tokens occurs twice; 0 allows all.
        stop: strings at which an answer ends, beside the template's own stop token; they are no part of it.
        seed: of the draws; None: another one each time.

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
            ('temperature', self.temperature >= 0, 'at least 0'),
            ('top_p', 0 < self.top_p <= 1, 'above 0 and at most 1'),
            ('num_beams', self.num_beams >= 1, 'at least 1'),
            ('no_repeat_ngram_size', self.no_repeat_ngram_size >= 0, 'at least 0'),
        ]:
            if not good:
                raise ValueError(f'{name} must be {range_}, got {getattr(self, name)}')
        if self.num_beams > 1 and self.temperature > 0:
            raise ValueError(f'beams ({self.num_beams}) do not draw: temperature must be 0, got {self.temperature}')

    def arguments(self) -> dict[str, Any]:
        """The keywords of Hugging Face's ``generate``."""
        arguments = {
            'max_new_tokens': self.max_new_tokens,
            'num_beams': self.num_beams,
            'no_repeat_ngram_size': self.no_repeat_ngram_size,
            'do_sample': self.temperature > 0,
        }
        if self.temperature > 0:
            arguments |= {'temperature': self.temperature, 'top_p': self.top_p, 'top_k': 0}
        return arguments


class CallbackStreamer(TextStreamer):
    """Hands each finished piece of an answer to a function, without special tokens and blanks at its beginning."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, on_text: Callable[[str], None]):
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self._on_text = on_text
        self._begun = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Called by ``TextStreamer`` when ``text`` can no longer change."""
        text = text if self._begun else text.lstrip()
        if text:
            self._begun = True
            self._on_text(text)
