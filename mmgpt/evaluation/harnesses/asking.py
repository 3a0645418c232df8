"""What every harness wants of a model: replies to, and likelihoods behind, a text with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgpt.evaluation.items import Generation, Item, Prompt, Scores
from mmgpt.evaluation.models import EvaluatedModel, evaluated, load_evaluated
from mmgpt.evaluation.prompts import TEMPLATE, PromptWriter
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.inference.endpoint import RequestRefused
from mmgpt.structures import Medium


class Asked(EvaluationTask):
    """What a harness asks. A frame is the task and a number: no other question's picture is taken for it."""

    name, kind, main = 'asked', 'instruction', ''

    def __init__(self) -> None:
        self.pictures: list[Any] = []

    def open(self, frame: tuple[Any, int]) -> Any:
        """See :class:`EvaluationTask`."""
        return super().open(self.pictures[frame[1]])

    def score(self, items: Sequence[Item], answers: Sequence[Any]) -> Scores:
        """The harness scores."""
        return Scores({})


class Asking:
    """A model that is asked one question at a time, in its own template.

    Args:
        name: as :func:`mmgpt.evaluation.models.load_evaluated` takes it, or an ``EvaluatedModel``.
        device, dtype: as there.
    """

    def __init__(self, name: str | EvaluatedModel, device: str | None = None, dtype: str = 'auto') -> None:
        loaded = (name, None) if isinstance(name, EvaluatedModel) else load_evaluated(name, device, dtype)
        self.model = evaluated(*loaded)

    def reply(self, text: str, media: Sequence[Sequence[Any]], **settings: Any) -> str:
        """The written reply.

        Args:
            text: of the question.
            media: the frames of each medium: PIL pictures or paths.
            settings: of :class:`Generation`.

        Raises:
            RequestRefused: a model behind an address refused the question.
        """
        prompt, writer = self._prompt(text, media)
        try:
            written = self.model.generate([prompt], writer, Generation(**settings))[0]
        finally:
            writer.task.pictures.clear()  # what is known of them is kept by the model, not they
        if isinstance(written, RequestRefused):
            raise written
        return written.strip()

    def likelihood(self, text: str, media: Sequence[Sequence[Any]], behind: str) -> tuple[float, bool]:
        """The summed log-probability of a text behind the question, and whether it would be written greedily."""
        prompt, writer = self._prompt(text, media)
        try:
            score = self.model.rank([prompt], [[behind]], writer, 'sum')[0][0]
            written = self.model.generate([prompt], writer, Generation(max_new_tokens=len(behind) + 1))[0]
        finally:
            writer.task.pictures.clear()
        return score, written.strip().startswith(behind.strip())

    def _prompt(self, text: str, media: Sequence[Sequence[Any]]) -> tuple[Prompt, PromptWriter]:
        task, found = Asked(), []
        for frames in media:
            start = len(task.pictures)
            task.pictures += frames
            found.append(Medium(tuple((task, number) for number in range(start, len(task.pictures)))))
        return Prompt((), Item(0, text.strip(), media=tuple(found))), PromptWriter(task, TEMPLATE)
