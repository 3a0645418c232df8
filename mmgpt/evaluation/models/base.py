"""What an evaluation asks of a model, whoever made it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mmgpt.evaluation.items import Generation, Prompt
from mmgpt.evaluation.prompts import PromptWriter
from mmgpt.inference.endpoint import RequestRefused


class EvaluatedModel(ABC):
    """A model under evaluation."""

    name: str  # to be shown
    can_rank: bool = True  # whether it tells likelihoods
    fingerprint: Any = None  # JSON that differs where its answers may: answers of another one are not taken over

    @abstractmethod
    def generate(
        self, prompts: Sequence[Prompt], writer: PromptWriter, settings: Generation
    ) -> list[str | RequestRefused]:
        """A written answer to each prompt of a batch, without special tokens; or why it was refused."""

    def rank(
        self, prompts: Sequence[Prompt], choices: Sequence[Sequence[str]], writer: PromptWriter, normalisation: str
    ) -> list[list[float]]:
        """The log-probability of each choice behind its prompt.

        Args:
            prompts: a batch.
            choices: of each prompt.
            writer: writes the prompts.
            normalisation: 'mean' over the tokens of a choice, or their 'sum'.

        Raises:
            ValueError: the model tells no likelihoods.
        """
        raise ValueError(f'{self.name} tells no likelihoods, by which this task ranks its choices')

    def lengths(self, prompts: Sequence[Prompt], writer: PromptWriter) -> list[int]:
        """How long each prompt is, in any unit; by it prompts are put together in batches."""
        return [1] * len(prompts)
