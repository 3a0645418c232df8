"""Metrics: answers and references in, figures out."""

from mmgpt.evaluation.metrics.base import Metric
from mmgpt.evaluation.metrics.captions import BLEU, ROUGEL, CIDEr
from mmgpt.evaluation.metrics.java import METEOR, SPICE
from mmgpt.evaluation.metrics.roc_auc import ROCAUC
from mmgpt.evaluation.metrics.vqa import VQAAccuracy

__all__ = ['BLEU', 'METEOR', 'ROCAUC', 'ROUGEL', 'SPICE', 'CIDEr', 'Metric', 'VQAAccuracy']
