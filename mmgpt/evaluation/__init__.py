"""Evaluation: tasks with their baselines."""

from mmgpt.evaluation.digits import DigitsEvaluation

__all__ = ['DigitsEvaluation']
