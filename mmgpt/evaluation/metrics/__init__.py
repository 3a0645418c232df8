"""Metrics: answers and references in, figures out."""

from mmgpt.evaluation.metrics.base import Metric
from mmgpt.evaluation.metrics.captions import BLEU, ROUGEL, CIDEr
from mmgpt.evaluation.metrics.roc_auc import ROCAUC
from mmgpt.evaluation.metrics.vqa import VQAAccuracy

__all__ = ['BLEU', 'ROCAUC', 'ROUGEL', 'CIDEr', 'Metric', 'VQAAccuracy']
