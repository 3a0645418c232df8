"""What a metric is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Metric(ABC):
    """Answers and references in, figures out."""

    main: str  # its first figure

    @abstractmethod
    def __call__(self, answers: Sequence[str], references: Sequence[Any]) -> tuple[dict[str, float], tuple | None]:
        """The figures of all answers, and the main figure of each where it is a mean of such.

        Args:
            answers: at least one.
            references: of each answer; what they are is the metric's business.
        """
