"""Somebody else's image-text model, asked by our tasks."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from tests.evaluation import benchmarks
from tools import test as tool

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    '{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}'
)


@pytest.fixture(scope='module')
def llava(tmp_path_factory):
    """A folder with a tiny random LLaVA."""
    words = [
        '<unk>',
        '</s>',
        '<pad>',
        '<image>',
        *'abcdefghijklmnopqrstuvwxyz?:.',
        'yes',
        'no',
        'user',
        'assistant',
        'what',
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token='<unk>', eos_token='</s>', pad_token='<pad>')
    fast.add_special_tokens({'additional_special_tokens': ['<image>']})
    size = {'height': 16, 'width': 16}
    processor = LlavaProcessor(
        CLIPImageProcessor(size={'shortest_edge': 16}, crop_size=size),
        fast,
        patch_size=8,
        vision_feature_select_strategy='default',
        chat_template=TEMPLATE,
        num_additional_image_tokens=1,
    )
    part = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=dict(model_type='clip_vision_model', image_size=16, patch_size=8, **part),
            text_config=dict(model_type='llama', vocab_size=len(fast), pad_token_id=2, **part),
            image_token_index=3,
        )
    )
    folder = tmp_path_factory.mktemp('llava')
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize('task', ['vqav2', 'hateful_memes'])
def test_it_writes_and_ranks(task, llava, tmp_path, capsys):
    config = benchmarks.config(tmp_path / 'config.py', benchmarks.TASKS[task](tmp_path / 'data'), seeds=[1])
    out = tmp_path / 'out'
    assert tool.main([str(config), f'hf:{llava}', '--out', str(out), '--device', 'cpu', '--limit', '4']) == 0, (
        capsys.readouterr().err
    )
    lines = [json.loads(line) for line in (out / 'predictions.jsonl').read_text().splitlines()]
    assert len(lines) == 8
    if task == 'hateful_memes':
        assert all(score < 0 for line in lines for score in line['scores'])
