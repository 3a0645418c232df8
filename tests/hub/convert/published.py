"""Writes checkpoints as the published code of each model wrote them, from stored weights; knows nothing of ours."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

STORED = Path(__file__).parents[2] / 'data' / 'published'
CLIP = STORED / 'tiny_clip'
ADDED = [720, 721, 722]  # the ids of the added tokens of OpenFlamingo and MultiModal-GPT, of 723


def stored(name: str) -> dict[str, torch.Tensor]:
    return load_file(STORED / f'{name}.safetensors')


def language_model(folder: Path) -> Path:
    """The bare LLaMA with its tokenizer, as it was before anything was added to it."""
    shutil.copytree(STORED / 'tiny_llama', folder)
    state = {}
    for key, value in stored('c_of_llama/full_state').items():
        if key.startswith('lang_encoder.') and 'gated_cross_attn' not in key:
            name = key.removeprefix('lang_encoder.').replace('decoder_layer.', '')
            state[name] = value[:720].clone() if name in ('lm_head.weight', 'model.embed_tokens.weight') else value
    save_file(state, folder / 'model.safetensors', metadata={'format': 'pt'})
    return folder


def release_v2(name: str = 'c_of_llama') -> dict[str, torch.Tensor]:
    """Resampler, gated blocks and input embedding; the head's rows of the added tokens are not in it."""
    whole = stored(f'{name}/full_state')
    state = {key.replace('.base_model.model.', '.'): value for key, value in whole.items()}
    trained = re.compile(r'perceiver\.|.*gated_cross_attn_layer\.|lang_encoder\.model\.embed_tokens')
    return {key: value for key, value in state.items() if trained.match(key) and 'lora_' not in key}


def release_v1(name: str = 'c_of_llama') -> dict[str, torch.Tensor]:
    """The same, with second names of the gated blocks and the tables of the rotary embedding."""
    state = release_v2(name)
    for key, value in list(state.items()):
        if match := re.match(r'lang_encoder\.model\.layers\.(\d+)\.gated_cross_attn_layer\.(.+)', key):
            state[f'lang_encoder.gated_cross_attn_layers.{match[1]}.{match[2]}'] = value
    for layer in range(8):
        state[f'lang_encoder.model.layers.{layer}.decoder_layer.self_attn.rotary_emb.inv_freq'] = torch.rand(4)
    return state


def training_form(state: dict[str, torch.Tensor]) -> dict:
    """A file of OpenFlamingo's distributed training."""
    wrapped = {f'module.{key}': value for key, value in state.items()}
    moments = {'state': {0: {'step': torch.tensor(3.0)}}, 'param_groups': [{'lr': 1e-4}]}
    return {'epoch': 0, 'model_state_dict': wrapped, 'optimizer_state_dict': moments, 'lr_scheduler_state_dict': {}}


def lora(default: bool = True, module: bool = True) -> dict[str, torch.Tensor]:
    """The matrices of MultiModal-GPT's adapter under peft's names."""
    state = {}
    for key, value in stored('e_mmgpt/full_state').items():
        if '.lora_' in key:
            name = key if default else key.replace('.default.', '.')
            state[f'module.{name}' if module else name] = value
    return state


def tuning_config() -> dict:
    targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'to_q', 'to_kv', 'to_out', 'ff.1', 'ff.3']
    settings = {'lora': True, 'lora_target_modules': targets, 'lora_r': 16, 'lora_alpha': 16, 'lora_dropout': 0.0}
    return {**settings, 'vis': True, 'unfrozen': []}


def otter(folder: Path) -> Path:
    """Otter's folder without its weights: the config and a tokenizer that has no added tokens yet."""
    folder.mkdir()
    shutil.copy(STORED / 'd_otter_image/config.json', folder)
    for file in ('tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json'):
        shutil.copy(STORED / 'tiny_llama' / file, folder)
    return folder


def otter_trained() -> dict[str, torch.Tensor]:
    """What Otter's training stores: all that it does not freeze."""
    frozen = ('vision_encoder.', 'lang_encoder.model.norm')
    return {
        key: value
        for key, value in stored('d_otter_image/full_state').items()
        if not key.startswith(frozen) and '.decoder_layer.' not in key
    }


def write_shards(state: dict[str, torch.Tensor], folder: Path, safe: bool, count: int = 3) -> None:
    """The tensors in ``count`` files with an index."""
    kind, ending = ('model', 'safetensors') if safe else ('pytorch_model', 'bin')
    places = {}
    for number in range(count):
        name = f'{kind}-{number + 1:05d}-of-{count:05d}.{ending}'
        part = dict(list(state.items())[number::count])
        places |= dict.fromkeys(part, name)
        if safe:
            save_file(part, folder / name, metadata={'format': 'pt'})
        else:
            torch.save(part, folder / name)
    size = sum(value.numel() * value.element_size() for value in state.values())
    index = {'metadata': {'total_size': size}, 'weight_map': places}
    (folder / f'{kind}.{ending}.index.json').write_text(json.dumps(index))
