"""The area under the ROC curve."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmgpt.evaluation.metrics.base import Metric
from mmgpt.registry import METRICS


@METRICS.register_module()
class ROCAUC(Metric):
    """The share of pairs of both classes that are in the right order x 100; equal scores count half.

    Answers are scores (higher: class 1), references are 0 or 1.
    """

    main = 'ROC-AUC'

    def __call__(self, answers: Sequence[float], references: Sequence[int]) -> tuple[dict[str, float], None]:
        """See :class:`Metric`.

        Raises:
            ValueError: all are of one class.
        """
        scores, labels = np.asarray(answers, np.float64), np.asarray(references)
        positive = int((labels == 1).sum())
        negative = len(labels) - positive
        if not positive or not negative:
            raise ValueError(f'a ROC curve needs both classes, got {positive} of class 1 and {negative} of class 0')
        _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # equal scores share their mean rank
        area = (ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * negative)
        return {'ROC-AUC': 100 * float(area)}, None
