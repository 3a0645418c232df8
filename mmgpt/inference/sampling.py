"""The next token of each row of a batch, each by its own settings and its own generator."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

from mmgpt.inference.generation import GenerationSettings


@dataclass(frozen=True)
class Token:
    """A token that was chosen, with its log probability and those of the likeliest ones, where they were asked for."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one row, as Hugging Face's ``generate`` would with the same settings.

    Args:
        settings: greedy, or draws; without beams.
        seed: of the draws. Default: another one each time.
        logprobs: None: none are told; else those of the chosen token and of so many of the likeliest.
        device: of the logits.
    """

    def __init__(
        self,
        settings: GenerationSettings,
        seed: int | None = None,
        logprobs: int | None = None,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.logprobs = logprobs
        self.generator = None
        self.processors = LogitsProcessorList()
        if settings.no_repeat_ngram_size:
            self.processors.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
        if settings.draws:
            self.generator = torch.Generator(device)
            self.generator.manual_seed(seed) if seed is not None else self.generator.seed()
            self.processors.append(TemperatureLogitsWarper(settings.temperature))
            if settings.top_p < 1:
                self.processors.append(TopPLogitsWarper(settings.top_p))

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is taken, and nothing else is wanted."""
        return not self.processors and self.logprobs is None

    def choose(self, ids: Tensor, logits: Tensor) -> Token:
        """The next token.

        Args:
            ids: (S,) the text so far.
            logits: (V,) float32; -inf = never.
        """
        scores = self.processors(ids[None], logits[None])[0]
        if self.generator is None:
            chosen = int(scores.argmax())
        else:
            chosen = int(torch.multinomial(scores.softmax(-1), 1, generator=self.generator))
        if self.logprobs is None:
            return Token(chosen)
        told = logits.log_softmax(-1)
        top = told.topk(self.logprobs) if self.logprobs else None
        pairs = () if top is None else tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        return Token(chosen, float(told[chosen]), pairs)
