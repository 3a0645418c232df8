"""Evaluation tasks: the questions of benchmarks, in their published files, and their rules."""

from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.captions import Captions
from mmgpt.evaluation.tasks.digit_naming import DigitNaming
from mmgpt.evaluation.tasks.hateful_memes import HatefulMemes
from mmgpt.evaluation.tasks.imagenet import ImageNet
from mmgpt.evaluation.tasks.judged import MagnifierBenchOpen, MMAGIBench, MMVet
from mmgpt.evaluation.tasks.math_vista import MathVista
from mmgpt.evaluation.tasks.multiple_choice import MagnifierBench, MMBench, ScienceQA, SeedBench
from mmgpt.evaluation.tasks.video_qa import VideoQA
from mmgpt.evaluation.tasks.vl_icl import CLEVRCount, MatchingMiniImageNet, OpenMiniImageNet, OperatorInduction, TextOCR
from mmgpt.evaluation.tasks.vqa import VQA
from mmgpt.evaluation.tasks.yes_no import MME, POPE

__all__ = [
    'MME',
    'POPE',
    'VQA',
    'CLEVRCount',
    'Captions',
    'DigitNaming',
    'EvaluationTask',
    'HatefulMemes',
    'ImageNet',
    'MMAGIBench',
    'MMBench',
    'MMVet',
    'MagnifierBench',
    'MagnifierBenchOpen',
    'MatchingMiniImageNet',
    'MathVista',
    'OpenMiniImageNet',
    'OperatorInduction',
    'ScienceQA',
    'SeedBench',
    'TextOCR',
    'VideoQA',
]
