"""Random Idefics of transformers, with the sizes of its own tests, and inputs as its processor makes them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import IdeficsConfig, IdeficsForVisionText2Text

from mmgpt.hub.convert.idefics import model_config, whole_tensors
from mmgpt.hub.convert.report import Report
from mmgpt.models import Flamingo

SIZE = 30  # pixels
VOCABULARY = 99
VISION = {
    'embed_dim': 32,
    'patch_size': 2,
    'image_size': SIZE,
    'num_attention_heads': 4,
    'num_hidden_layers': 5,
    'intermediate_size': 37,
}
PERCEIVER = {
    'qk_layer_norms_perceiver': False,
    'resampler_depth': 2,
    'resampler_head_dim': 8,
    'resampler_n_heads': 2,
    'resampler_n_latents': 16,
}
TEXT = {
    'vocab_size': VOCABULARY,
    'hidden_size': 32,
    'num_hidden_layers': 5,
    'num_attention_heads': 4,
    'intermediate_size': 37,
    'hidden_act': 'gelu',
    'max_position_embeddings': 512,
    'alpha_initializer': 'ones',
}
VARIANTS = {
    'as in its tests': {},
    'qk norms': {'qk_layer_norms': True},
    'vector gates': {'alpha_type': 'vector', 'hidden_act': 'silu'},
    'resampler': {'use_resampler': True},
    'as published': {
        'use_resampler': True,
        'perceiver_config': {**PERCEIVER, 'qk_layer_norms_perceiver': True},
        'qk_layer_norms': True,
        'additional_vocab_size': 2,
        'cross_layer_interval': 2,
        'num_hidden_layers': 4,
        'hidden_act': 'silu',
    },
    'tied': {'tie_word_embeddings': True, 'additional_vocab_size': 3},
}


def oracle(variant: str = 'as in its tests', seed: int = 0, **changes: Any) -> IdeficsForVisionText2Text:
    """A model whose every parameter is random: norms, biases and gates too."""
    torch.manual_seed(seed)
    settings = {**TEXT, 'vision_config': VISION, 'perceiver_config': PERCEIVER, **VARIANTS[variant], **changes}
    model = IdeficsForVisionText2Text(IdeficsConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def image_attention_mask(input_ids: Tensor, mark: int, images: int) -> Tensor:
    """(R, S, images): a token sees the last image before it, as Idefics' processor says."""
    seen = (input_ids == mark).cumsum(1)
    return (torch.arange(1, images + 1) == seen.unsqueeze(-1)).long()


def rows(marks: list[list[int]], mark: int, length: int = 12, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random ids with ``mark`` at the given places of each row, and images (R, M, 3, H, W) for as many as needed."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (len(marks), length), generator=generator)
    ids[ids == mark] = 3
    for row, places in enumerate(marks):
        ids[row, places] = mark
    count = max(1, *map(len, marks))  # Idefics wants one, though nothing may look at it
    return ids, torch.randn(len(marks), count, 3, SIZE, SIZE, generator=generator)


def counterpart(published: IdeficsForVisionText2Text, mark: int) -> Flamingo:
    """The same model as ours, in memory."""
    model = Flamingo(model_config(published.config, mark)).to(published.dtype).eval()
    model.load_state_dict(whole_tensors(published.state_dict(), published.config, Report()))
    return model
