"""Evaluation: benchmarks with few-shot prompts, and the demos' own tasks with their baselines."""

from mmgpt.evaluation.characters import CharactersEvaluation
from mmgpt.evaluation.digit_instructions import DigitInstructionsEvaluation
from mmgpt.evaluation.digits import DigitsEvaluation
from mmgpt.evaluation.items import Answer, Generation, Item, Prompt, Ranking, Scores
from mmgpt.evaluation.models import EvaluatedModel, evaluated
from mmgpt.evaluation.runner import Evaluation
from mmgpt.evaluation.tasks.base import EvaluationTask

__all__ = [
    'Answer',
    'CharactersEvaluation',
    'DigitInstructionsEvaluation',
    'DigitsEvaluation',
    'EvaluatedModel',
    'Evaluation',
    'EvaluationTask',
    'Generation',
    'Item',
    'Prompt',
    'Ranking',
    'Scores',
    'evaluated',
]
