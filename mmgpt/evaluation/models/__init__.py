"""Models under evaluation: our own, any of Hugging Face's, any behind an OpenAI-compatible address."""

from __future__ import annotations

from typing import Any

from mmgpt.evaluation.models.base import EvaluatedModel
from mmgpt.evaluation.models.flamingo import FlamingoModel
from mmgpt.hub.io import load_folder, locate

__all__ = ['EvaluatedModel', 'FlamingoModel', 'check_name', 'evaluated', 'load_evaluated']


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


def load_evaluated(name: str, device: str | None = None, dtype: str = 'auto') -> tuple[Any, Any]:
    """The model and processor of a name, as evaluations take them.

    Args:
        name: a folder or hub id of ours; ``openai:NAME``, a model behind ``OPENAI_BASE_URL``; or ``hf:NAME``, folder or
            hub id of any image-text model of Hugging Face's. The last two are an ``EvaluatedModel`` and None.
        device: default: the accelerator where there is one.
        dtype: default: the folder's own.

    Raises:
        OSError: there is no such model.
    """
    kind, _, rest = name.partition(':')
    if kind == 'openai':
        from mmgpt.evaluation.models.endpoint import EndpointModel

        return EndpointModel(rest), None
    if kind == 'hf':
        from mmgpt.evaluation.models.hugging_face import HuggingFaceModel

        return HuggingFaceModel.load(rest, device, dtype), None
    return load_folder(name, device, dtype)


def check_name(name: str) -> None:
    """Raises an OSError where there is no folder of that name, before anything is loaded."""
    if name.partition(':')[0] not in ('openai', 'hf'):
        locate(name)
