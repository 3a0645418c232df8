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
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from mmgpt.evaluation import Evaluation
from mmgpt.evaluation.models.hugging_face import HuggingFaceModel
from tests.evaluation import benchmarks
from tools import test as tool

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    '{% endif %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}'
)


def tokenizer_of(*marks: str) -> PreTrainedTokenizerFast:
    """A tokenizer of a few words; the marks have the ids from 3 on."""
    letters = 'abcdefghijklmnopqrstuvwxyz?:.'
    words = ['<unk>', '</s>', '<pad>', *marks, *letters, 'yes', 'no', 'user', 'assistant', 'what']
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token='<unk>', eos_token='</s>', pad_token='<pad>')
    fast.add_special_tokens({'additional_special_tokens': list(marks)})
    return fast


@pytest.fixture(scope='module')
def llava(tmp_path_factory):
    """A folder with a tiny random LLaVA."""
    fast = tokenizer_of('<image>')
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


@pytest.fixture(scope='module')
def qwen():
    """A tiny random Qwen2-VL, whose processor tells the kind of each token."""
    marks = ('<|image_pad|>', '<|video_pad|>', '<|vision_start|>', '<|vision_end|>')
    fast = tokenizer_of(*marks)
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(patch_size=8, merge_size=2, size={'shortest_edge': 1024, 'longest_edge': 4096}),
        fast,
        Qwen2VLVideoProcessor(patch_size=8, merge_size=2),
        chat_template=TEMPLATE.replace('<image>', '<|vision_start|><|image_pad|><|vision_end|>'),
    )
    part = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2)
    rope = {'rope_type': 'default', 'mrope_section': [2, 3, 3], 'rope_theta': 10000.0}
    vision = dict(depth=1, embed_dim=32, hidden_size=32, num_heads=2, patch_size=8, spatial_merge_size=2)
    ids = {f'{name}_token_id': 3 + place for place, name in enumerate(('image', 'video', 'vision_start', 'vision_end'))}
    torch.manual_seed(0)
    config = Qwen2VLConfig(
        text_config=dict(vocab_size=len(fast), eos_token_id=1, pad_token_id=2, rope_parameters=rope, **part),
        vision_config=vision,
        **ids,
    )
    return HuggingFaceModel(Qwen2VLForConditionalGeneration(config).eval(), processor)


@torch.no_grad()
def test_kinds_of_tokens_go_on_behind_the_prompt(qwen, tmp_path):
    evaluation = Evaluation(benchmarks.hateful_memes(tmp_path, count=2))
    prompts = evaluation.prompts(evaluation.queries(0), 1, 0)
    choices = ('no', 'what yes')
    ranked = qwen.rank(prompts, [choices] * 2, evaluation.writer, 'sum')
    for prompt, scores in zip(prompts, ranked, strict=True):
        messages = evaluation.writer.messages(prompt)
        images = [part['image'] for message in messages for part in message['content'] if part['type'] == 'image']
        begun = qwen.processor.apply_chat_template(messages, add_generation_prompt=True)
        for choice, score in zip(choices, scores, strict=True):
            inputs = qwen.processor(text=f'{begun} {choice}', images=images, return_tensors='pt')
            count = len(choice.split())
            logits = qwen.model(**inputs).logits[0, -count - 1 : -1].log_softmax(-1)
            assert score == pytest.approx(float(logits.gather(-1, inputs['input_ids'][0, -count:, None]).sum()))


def test_all_settings_of_generation_count(qwen, tmp_path, monkeypatch):
    evaluation = Evaluation(benchmarks.vqa(tmp_path, count=1), answering=dict(no_repeat_ngram_size=2, stop=['b']))
    prompts = evaluation.prompts(evaluation.queries(0), 0, 0)
    asked = []

    def generate(input_ids, **arguments):
        asked.append(arguments)
        written = qwen.processor.tokenizer('a b c', return_tensors='pt')['input_ids']
        return torch.cat((input_ids, written), 1)

    monkeypatch.setattr(qwen.model, 'generate', generate)
    assert qwen.generate(prompts, evaluation.writer, evaluation.answering) == ['a ']
    assert asked[0]['no_repeat_ngram_size'] == 2
