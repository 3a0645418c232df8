"""Models under evaluation: our own, any of Hugging Face's, any behind an OpenAI-compatible address."""

from __future__ import annotations

from typing import Any

from mmgpt.evaluation.models.base import EvaluatedModel
from mmgpt.evaluation.models.flamingo import FlamingoModel

__all__ = ['EvaluatedModel', 'FlamingoModel', 'evaluated']


def evaluated(model: Any, processor: Any = None) -> EvaluatedModel:
    """What an evaluation asks: ``model`` itself if it is an ``EvaluatedModel``, else a ``Flamingo`` with its processor.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(model, EvaluatedModel):
        return model
    if not hasattr(model, 'encode_media') or not hasattr(processor, 'prompter'):
        raise TypeError(
            f'expected an EvaluatedModel, or a Flamingo with its processor; got {type(model).__name__} and '
            f'{type(processor).__name__}'
        )
    return FlamingoModel(model, processor)
