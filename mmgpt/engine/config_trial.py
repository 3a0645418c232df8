"""The model of a config, built without memory to see whether it can be, and whether patterns of names match it."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mmgpt.engine.config_source import Key, did_you_mean
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.trainable import set_trainable
from mmgpt.models.vision_encoders.normalisation import encode_frames
from mmgpt.registry import MODELS


def model_faults(
    cfg: Mapping[str, Any], optim_wrapper: Mapping[str, Any], keeps_features: bool, size: int | None = None
) -> Iterator[tuple[Key, str]]:
    """The key and message of what is wrong with a model; nothing where only its weights would tell what it is.

    Args:
        cfg: ``model`` of a config, its keys and values right as far as they can be told one by one.
        optim_wrapper: whose patterns are tried on the parameters' names.
        keeps_features: whether the run has a ``feature_cache``, for which the vision encoder must be frozen.
        size: height and width of the pictures that it gets; None: not known.
    """
    decoder, vision = dict(cfg['language_decoder']), dict(cfg['vision_encoder'])
    text = dict(decoder.pop('config', {}))
    if 'model_type' not in text:
        return
    for name in ('weights', 'revision', 'dtype'):
        decoder.pop(name, None)
        vision.pop(name, None)
    others = {n: v for n, v in cfg.items() if n not in ('type', 'trainable', 'train_embeddings')}
    parts = {**others, 'vision_encoder': vision, 'language_decoder': decoder if 'type' in decoder else None}
    try:
        with torch.device('meta'):
            model = MODELS.get(cfg.get('type', 'Flamingo'))(FlamingoConfig(text_config=text, **parts))
    except Exception as error:
        yield ('model',), f'the model cannot be built: {type(error).__name__}: {error}'
        return
    try:
        set_trainable(model, cfg.get('trainable', ['*']))
    except ValueError as error:
        yield ('model', 'trainable'), str(error)
        keeps_features = False  # what is trained is not known
    if keeps_features and any(parameter.requires_grad for parameter in model.vision_encoder.parameters()):
        yield (
            ('model', 'trainable'),
            'it trains the vision encoder, whose features cannot be kept then: leave it out here, or feature_cache',
        )
    encoder = model.vision_encoder
    known = size is not None and 'weights' not in cfg['vision_encoder']
    if known and not _takes(encoder, size) and _takes(encoder, encoder.image_size):
        yield (
            ('image_transform', 'size'),
            f'size: {type(encoder).__name__} takes pictures of its image_size, {encoder.image_size}, alone; '
            f'got {size}: make the two the same',
        )
    names = [name for name, _ in model.named_parameters()]
    for key in ('lr_factors', 'no_decay'):
        for number, pattern in enumerate(optim_wrapper.get(key) or ()):
            if not fnmatch.filter(names, pattern):
                words = {word for name in names for word in name.split('.')}
                near = did_you_mean(pattern.strip('*._'), words, or_list=False)
                place = pattern if key == 'lr_factors' else number
                yield ('optim_wrapper', key, place), f'{pattern!r} matches no parameter{near}'


def _takes(encoder: torch.nn.Module, size: int) -> bool:
    """Whether a vision encoder without memory takes pictures of that height and width."""
    try:
        with torch.no_grad():
            encode_frames(encoder, torch.zeros(1, 3, size, size, device='meta'))
    except Exception:
        return False
    return True
