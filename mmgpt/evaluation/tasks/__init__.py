"""Evaluation tasks: the questions of benchmarks, in their published files, and their rules."""

from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.captions import Captions
from mmgpt.evaluation.tasks.hateful_memes import HatefulMemes
from mmgpt.evaluation.tasks.imagenet import ImageNet
from mmgpt.evaluation.tasks.vqa import VQA

__all__ = ['VQA', 'Captions', 'EvaluationTask', 'HatefulMemes', 'ImageNet']
