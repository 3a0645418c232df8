"""The stored numbers of the published implementations, and their weights under this project's names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors.torch import load_file

from mmgpt.models import Flamingo, FlamingoConfig
from mmgpt.models.adapters import adapted_names

FOLDER = Path(__file__).parents[1] / 'data' / 'published'
TOLERANCE = 2e-5


def numbers(name: str) -> dict[str, torch.Tensor]:
    return load_file(FOLDER / f'{name}.safetensors')


def weights(stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of a module whose stored weights have the prefix ``weights.``."""
    return {key.removeprefix('weights.'): value for key, value in stored.items() if key.startswith('weights.')}


def settings() -> dict:
    return json.loads((FOLDER / 'c_of_llama/cases.json').read_text())


def renamed(key: str) -> str:
    """A key of OpenFlamingo's whole state under this project's names."""
    key = re.sub(r'^vision_encoder\.', 'vision_encoder.tower.', key)
    key = re.sub(r'^perceiver\.', 'resampler.', key)
    key = re.sub(r'^lang_encoder\.model\.layers\.(\d+)\.gated_cross_attn_layer\.', r'gated_blocks.\1.', key)
    return re.sub(r'^lang_encoder\.', 'language_model.', key).replace('.decoder_layer.', '.')


def open_flamingo(normalize_patches: bool = False) -> Flamingo:
    """The stored OpenFlamingo in memory."""
    architecture = json.loads((FOLDER / 'tiny_clip/tiny-vit.json').read_text())
    text = json.loads((FOLDER / 'tiny_llama/config.json').read_text())
    case = settings()
    config = FlamingoConfig(
        vision_encoder=dict(type='OpenClipVision', architecture=architecture, normalize_patches=normalize_patches),
        resampler=dict(type='PerceiverResampler'),
        text_config={**text, 'vocab_size': 723, 'pad_token_id': None},
        cross_attention=dict(type='GatedCrossAttention'),
        cross_attn_every_n_layers=case['cross_attn_every_n_layers'],
        without_media='zero_attention',
        media_token_id=case['media_token_id'],
    )
    model = Flamingo(config).eval()
    stored = load_file(FOLDER / 'c_of_llama/full_state.safetensors')
    model.load_state_dict({renamed(key): value for key, value in stored.items()})
    return model


def multimodal_gpt(attend: str = 'next') -> Flamingo:
    """The stored MultiModal-GPT in memory: base and adapter; as published, text looks at the image that follows it."""
    architecture = json.loads((FOLDER / 'tiny_clip/tiny-vit.json').read_text())
    text = json.loads((FOLDER / 'tiny_llama/config.json').read_text())
    config = FlamingoConfig(
        vision_encoder=dict(type='OpenClipVision', architecture=architecture),
        resampler=dict(type='PerceiverResampler'),
        text_config={**text, 'vocab_size': 723, 'pad_token_id': None},
        cross_attention=dict(type='GatedCrossAttention'),
        cross_attn_every_n_layers=4,
        attend=attend,
        without_media='skip',
        adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention', 'gated_feedforward'], r=16, alpha=16),
        media_token_id=721,
    )
    model = Flamingo(config).eval()
    stored = load_file(FOLDER / 'e_mmgpt/full_state.safetensors')
    plain = {key.replace('.base_model.model.', '.').replace('.visual.', '.'): value for key, value in stored.items()}
    state = {renamed(key): value for key, value in plain.items()}
    model.load_state_dict(adapted_names(state, model))
    return model
