"""Builds a model from its part of a config."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PretrainedConfig, PreTrainedModel

from mmgpt.models.config import FlamingoConfig
from mmgpt.models.flamingo import Flamingo
from mmgpt.models.new_tokens import train_new_rows
from mmgpt.models.sources import Source
from mmgpt.models.trainable import set_trainable
from mmgpt.registry import MODELS, VISION_ENCODERS, plugin_modules


def build_model(
    cfg: Mapping[str, Any],
    tokenizer: Any,
    media_token: str = '<image>',
    stop_token: str | None = None,
    special_tokens: Sequence[str] = (),
) -> Flamingo:
    """The model of a config, its weights loaded where the config names some, and its trained parameters marked.

    Args:
        cfg: ``model`` of a config: the arguments of ``FlamingoConfig`` with ``type``, and

            - ``vision_encoder`` may have ``weights`` (a hub id, folder or file), ``revision`` and ``dtype``;
            - ``language_decoder`` has ``config`` (arguments of the language model's configuration, with
              ``model_type``), or ``weights`` (a hub id or folder), ``revision``, ``dtype`` and in ``config`` what is
              said again or changed;
            - ``adapter``: low-rank adapters on the loaded weights, always trained, see ``mmgpt.models.adapters``;
            - ``trainable``: patterns over parameter names, default ``['*']``, beside an adapter nothing, see
              ``set_trainable``;
            - ``train_embeddings``: ``'all'`` also trains the input embedding and the output head, ``'new'`` only the
              rows of added tokens, None (default) what ``trainable`` says.
        tokenizer: with the template's tokens already added; the embedding grows to hold all of its tokens and never
            shrinks.
        media_token: the mark of a medium.
        stop_token: ends an answer; generation also ends at the tokenizer's own end of text.
        special_tokens: the template's tokens; with the tokens beyond the language model's own vocabulary they are the
            added ones.

    Raises:
        KeyError: a type that no registry knows.
        ValueError: a token that the tokenizer lacks, a pattern that matches nothing, parts that do not fit, or weights
            that are not whole.
        OSError: weights that are not there and cannot be downloaded, or are damaged; the message names the part.

    Example:
        >>> model = build_model(config.model, tokenizer, stop_token='<|endofchunk|>')  # doctest: +SKIP
    """
    cfg = copy.deepcopy(dict(cfg))
    model_type = MODELS.get(cfg.pop('type', 'Flamingo'))
    trainable = cfg.pop('trainable', ['*'] if cfg.get('adapter') is None else [])
    embeddings = cfg.pop('train_embeddings', None)
    if embeddings not in ('all', 'new', None):
        raise ValueError(f"train_embeddings must be 'all', 'new' or None, got {embeddings!r}")
    ids = {token: _id_of(token, tokenizer) for token in (media_token, *special_tokens)}
    decoder = dict(cfg.pop('language_decoder', {}))
    lm = {key: decoder.pop(key, None) for key in ('config', 'weights', 'revision', 'dtype')}
    vision = dict(cfg.pop('vision_encoder', {'type': 'ClipVision'}))
    tower = {key: vision.pop(key, None) for key in ('weights', 'revision', 'dtype')}
    vision_encoder = _vision_encoder(vision, tower)
    text_config, language_model = _language_model(lm, tokenizer)
    parts = dict(vision_encoder=vision, language_decoder=decoder if 'type' in decoder else None, **cfg)
    config = FlamingoConfig(
        text_config=text_config, media_token_id=ids[media_token], plugin_modules=plugin_modules(parts), **parts
    )
    model = model_type(config, language_model, vision_encoder)
    model.sources = {
        part: Source(origin['weights'], origin['revision'])
        for part, origin in (('vision_encoder', tower), ('language_model', lm))
        if origin['weights'] is not None
    }
    own = text_config.vocab_size if language_model is not None else 0  # a new language model knows no token yet
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer))
    model.generation_config = _generation_config(tokenizer, stop_token)
    _mark_trained(model, trainable, embeddings, sorted({*ids.values(), *range(own, len(tokenizer))}))
    return model


def _mark_trained(model: Flamingo, patterns: Sequence[str], embeddings: str | None, added: Sequence[int]) -> None:
    """Train what the patterns match, all adapters, and of the embeddings as ``train_embeddings`` says."""
    set_trainable(model, patterns)
    if model.config.adapter is not None:
        from mmgpt.models.adapters import adapter_parameters  # here, since peft is slow to import

        for _, parameter in adapter_parameters(model):
            parameter.requires_grad_(True)
    if embeddings == 'all':
        model.get_input_embeddings().requires_grad_(True)
        model.get_output_embeddings().requires_grad_(True)
    elif embeddings == 'new':
        train_new_rows(model, added)


def _vision_encoder(vision: dict[str, Any], tower: dict[str, Any]) -> nn.Module | None:
    """The vision encoder where it has weights or a dtype of its own."""
    if tower['weights'] is None and tower['dtype'] is None:
        return None
    encoder = VISION_ENCODERS.build(vision)
    if tower['weights'] is not None:
        _named('vision_encoder', tower['weights'], encoder.load_weights, tower['weights'], tower['revision'])
    return encoder if tower['dtype'] is None else encoder.to(getattr(torch, tower['dtype']))


def _language_model(lm: dict[str, Any], tokenizer: Any) -> tuple[PretrainedConfig, PreTrainedModel | None]:
    """The language model's configuration, and the model itself where it has weights."""
    changes = dict(lm['config'] or {})
    if lm['weights'] is None:
        if 'model_type' not in changes:
            raise ValueError("language_decoder needs 'weights', or a 'config' with 'model_type'")
        changes['vocab_size'] = max(changes.get('vocab_size', 0), len(tokenizer))
        for name in ('bos_token_id', 'eos_token_id', 'pad_token_id'):
            changes.setdefault(name, getattr(tokenizer, name))
        return AutoConfig.for_model(changes.pop('model_type'), **changes), None
    expected = changes.pop('model_type', None)
    arguments = dict(revision=lm['revision'], dtype=lm['dtype'] or 'auto', **changes)
    load = partial(AutoModelForCausalLM.from_pretrained, output_loading_info=True, ignore_mismatched_sizes=True)
    model, info = _named('language_decoder', lm['weights'], load, lm['weights'], **arguments)
    tied = (model.all_tied_weights_keys or {}).keys()
    faults = [f'missing {name}' for name in sorted(set(info['missing_keys']) - tied)]
    faults += [f'{name} is {tuple(there)}, not {tuple(ours)}' for name, there, ours in sorted(info['mismatched_keys'])]
    if faults:
        raise ValueError(
            f'the weights {lm["weights"]!r} of model.language_decoder are not whole or of another size, and the rest '
            f'would be random: {", ".join(faults[:10])}'
        )
    if expected not in (None, model.config.model_type):
        raise ValueError(
            f'the config says that language_decoder is of model_type {expected!r}, but the weights {lm["weights"]!r} '
            f'are of {model.config.model_type!r}: correct one of them'
        )
    return model.config, model


def _named(part: str, source: str, load: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls ``load``; a failure says which part of the config it belongs to."""
    try:
        return load(*args, **kwargs)
    except pickle.UnpicklingError:
        raise OSError(
            f'the weights {source!r} of model.{part} were refused, and nothing in them was run: they hold more than '
            'tensors, or are damaged. Give them as safetensors.'
        ) from None
    except (OSError, SafetensorError) as error:
        raise OSError(
            f'the weights {source!r} of model.{part} cannot be loaded: {error}\n'
            'Give a folder on this machine, or a hub id while the hub can be reached (HF_HUB_OFFLINE unset).'
        ) from error


def _id_of(token: str, tokenizer: Any) -> int:
    found = tokenizer.get_vocab().get(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token!r}: add the template's special tokens to it first")
    return found


def _generation_config(tokenizer: Any, stop_token: str | None) -> GenerationConfig:
    """Greedy, ending at the stop token and at the end of text."""
    ends = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
    if stop_token is not None:
        ends.insert(0, _id_of(stop_token, tokenizer))
    ends = list(dict.fromkeys(ends))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [None])[-1]
    ids = dict(bos_token_id=tokenizer.bos_token_id, eos_token_id=ends or None, pad_token_id=pad)
    return GenerationConfig(do_sample=False, use_cache=True, **ids)
