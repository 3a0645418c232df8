"""The shipped configs: they load without data and weights, have the published sizes, and each can be rehearsed."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest
import torch

from mmgpt.engine.config import load_config
from mmgpt.models.builder import build_model
from mmgpt.models.new_tokens import train_new_rows
from tools import print_config, train

CONFIGS = Path(__file__).parents[2] / 'configs'
SHIPPED = sorted(CONFIGS.glob('*.py'))
by_name = pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def empty_machine(tmp_path, monkeypatch):
    """A folder without data, and a cache without weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'cache'))


@by_name
def test_it_has_no_fault_and_is_printed_where_nothing_is_there(path, capsys):
    assert print_config.main([str(path)]) == 0
    assert 'train_dataloader' in capsys.readouterr().out


@by_name
def test_it_can_be_rehearsed(path, capsys, tmp_path):
    begin = time.process_time()
    assert train.main([str(path), '--dry-run']) == 0
    shown = capsys.readouterr().out
    done = ['trained 20 steps', 'resumed at step 10', 'loaded what was saved']
    done.append('evaluated with' if load_config(path).get('evaluation') else 'has no evaluation')
    assert [text for text in done if text not in shown] == []
    assert not list(tmp_path.iterdir())
    assert time.process_time() - begin < 120


@pytest.mark.parametrize('name', ['otter_demo', 'multimodal_gpt_demo', 'characters_demo'])
def test_demos_take_the_precision_that_is_faster_where_they_run(name):
    assert load_config(CONFIGS / f'{name}.py').optim_wrapper.get('precision', 'auto') == 'auto'


def test_what_is_missing_is_one_message(capsys, tmp_path):
    assert train.main([str(CONFIGS / 'otter_mimicit.py')]) == 2
    told = capsys.readouterr().err
    needed = ('hf download openai/clip-vit-large-patch14', 'hf download huggyllama/llama-7b', 'LADD_train.json')
    needed += ('LA.parquet', 'datasets/pufanyi/MIMICIT', 'python tools/train.py configs/otter_demo.py')
    assert [text for text in needed if text not in told] == []
    assert told.count('train: ') == 1
    assert not list(tmp_path.iterdir())


def test_each_file_of_a_joint_set_comes_with_its_own_way_to_get_it(capsys):
    assert train.main([str(CONFIGS / 'multimodal_gpt.py')]) == 2
    told = capsys.readouterr().err
    needed = ('liuhaotian/LLaVA-Instruct-150K', 'zips/train2017.zip', 'data/coco/annotations/coco_karpathy_val.json')
    needed += ('databricks/databricks-dolly-15k', 'data/alpaca_gpt4/alpaca_gpt4_data.json', 'project-baize')
    assert [text for text in needed if text not in told] == []


# ---- published sizes: 1.441 B with LLaMA's head, 1.310 B without, 1.179 B without the embedding; 23.46 M of adapters

SPECIAL = {'<|endofchunk|>': 32000, '<image>': 32001, '<answer>': 32002}
NORM, ATTENTION, FEED_FORWARD = 2, 512, 8  # scale and bias; 8 heads of 64; two matrices of ratio 4
RESAMPLER = 64 * 1024 + NORM * 1024 + 6 * (3 * NORM * 1024 + 4 * ATTENTION * 1024 + FEED_FORWARD * 1024**2)
BLOCK = 2 + 2 * NORM * 4096 + 2 * ATTENTION * (4096 + 1024) + FEED_FORWARD * 4096**2
GATED_AND_RESAMPLER = 8 * BLOCK + RESAMPLER
EMBEDDING = 32003 * 4096


class LlamaTokens:
    """LLaMA's tokenizer as far as a model is built by it, with Otter's tokens added."""

    bos_token_id, eos_token_id, pad_token_id = 1, 2, None

    def __len__(self) -> int:
        return 32003

    def get_vocab(self) -> dict[str, int]:
        return SPECIAL


def full_size(name: str, **changes) -> torch.nn.Module:
    """The model of a config, built without memory."""
    cfg = copy.deepcopy(load_config(CONFIGS / name).model.to_dict()) | changes
    for part in ('vision_encoder', 'language_decoder'):
        del cfg[part]['weights']
    with torch.device('meta'):
        return build_model(cfg, LlamaTokens(), special_tokens=list(SPECIAL))


def trained(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_otter_trains_as_many_parameters_as_published():
    assert trained(full_size('otter_mimicit.py')) == GATED_AND_RESAMPLER + 2 * EMBEDDING == 1_441_003_536
    without_head = ['resampler', 'gated_blocks', 'language_model.model.embed_tokens']
    model = full_size('otter_mimicit.py', trainable=without_head, train_embeddings=None)
    assert trained(model) == GATED_AND_RESAMPLER + EMBEDDING == 1_309_919_248
    lean = full_size('otter_mimicit.py', train_embeddings=None)
    train_new_rows(lean, list(SPECIAL.values()))
    assert trained(lean) == GATED_AND_RESAMPLER + 2 * 3 * 4096 == 1_178_859_536


def test_the_current_otter_has_the_sizes_of_its_towers():
    model = full_size('otter_qwen3_siglip2.py', train_embeddings=None)
    size = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert size['vision_encoder'] == 413_018_352  # SigLIP 2 so400m without its pooling head
    assert size['language_model'] == 4_022_468_096  # Qwen3-4B, its head tied to the embedding
    assert len(model.gated_blocks) == 36 // 4
    assert trained(model) == size['resampler'] + size['gated_blocks'] == 625_459_986


def test_multimodal_gpt_trains_as_many_parameters_as_published():
    assert trained(full_size('multimodal_gpt.py')) == 23_461_888


class DemoTokens(LlamaTokens):
    """The digits demo's tokenizer, likewise."""

    def __len__(self) -> int:
        return 1004

    def get_vocab(self) -> dict[str, int]:
        return {'<|endofchunk|>': 1000, '<image>': 1001, '<answer>': 1002}


def test_the_second_demo_trains_at_most_a_twentieth():
    cfg = load_config(CONFIGS / 'multimodal_gpt_demo.py').model.to_dict()
    with torch.device('meta'):
        model = build_model(cfg, DemoTokens(), special_tokens=list(SPECIAL))
    assert 0 < trained(model) <= 0.05 * sum(p.numel() for p in model.parameters())
