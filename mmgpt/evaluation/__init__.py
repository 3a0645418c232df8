"""Evaluation: tasks with their baselines."""

from mmgpt.evaluation.digit_instructions import DigitInstructionsEvaluation
from mmgpt.evaluation.digits import DigitsEvaluation

__all__ = ['DigitInstructionsEvaluation', 'DigitsEvaluation']
