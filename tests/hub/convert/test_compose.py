"""A new model of any parts: it computes what its language model computes, and its pictures have a way in."""

import json

import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from mmgpt.hub.convert.compose import described
from tests.hub.convert import published


def test_a_new_model_equals_its_language_model_until_its_gates_open(run, parts, tiny_llama, tmp_path):
    options = ['--resampler', 'PerceiverResampler', 'num_latents=5', 'depth=2', '--cross-attn-every-n-layers', 4]
    assert run('compose', *parts, *options, '--out', tmp_path / 'd') == 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / 'd').eval()
    processor = AutoProcessor.from_pretrained(tmp_path / 'd')
    bare = AutoModelForCausalLM.from_pretrained(tiny_llama).eval()
    assert list(model.gated_blocks) == ['3', '7']
    assert model.resampler.latents.shape == (5, 16)
    assert processor.tokenizer.convert_tokens_to_ids(['<|endofchunk|>', '<image>', '<answer>']) == [720, 721, 722]
    assert model.generation_config.eos_token_id == [720, 2]
    tower = published.stored('tiny_clip/visual')
    assert torch.equal(
        model.vision_encoder.tower.conv1.weight, tower.get('conv1.weight', tower.get('visual.conv1.weight'))
    )
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits[..., :720], bare(input_ids=ids).logits)
        ids[0, 4] = 721
        pixels = torch.randn(2, 1, 1, 1, 3, 32, 32)
        one, other = (model(input_ids=ids, pixel_values=p).logits for p in pixels)
        assert torch.equal(one, other)
        for block in model.gated_blocks.values():
            block.attn_gate.fill_(1.0)
        one, other = (model(input_ids=ids, pixel_values=p).logits for p in pixels)
        assert not torch.equal(one, other)


def test_another_template_and_a_hugging_face_tower(run, tiny_llama, tmp_path):
    from transformers import CLIPVisionConfig, CLIPVisionModel

    shape = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    CLIPVisionModel(CLIPVisionConfig(**shape, image_size=16, patch_size=8)).save_pretrained(tmp_path / 'clip')
    (tmp_path / 'clip/preprocessor_config.json').write_text(
        json.dumps({'image_mean': [0.5] * 3, 'image_std': [0.2] * 3})
    )
    parts = ('--language-model', tiny_llama, '--vision-model', tmp_path / 'clip', '--dtype', 'bfloat16')
    assert run('compose', *parts, '--template', 'MultiModalGPT', 'lead=Hi.', '--out', tmp_path / 'd') == 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / 'd')
    processor = AutoProcessor.from_pretrained(tmp_path / 'd')
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}
    assert processor.image_std == [0.2] * 3
    assert processor.apply_chat_template([{'role': 'user', 'content': 'A?'}], add_generation_prompt=True).startswith(
        'Hi.'
    )


def test_wrong_parts_are_named(run, parts, tmp_path, capsys):
    out = tmp_path / 'd'
    assert run('compose', *parts, '--resampler', 'PerceverResampler', '--out', out) == 2
    assert "did you mean 'PerceiverResampler'" in capsys.readouterr().err
    assert run('compose', *parts, '--resampler', 'PerceiverResampler', 'latents=3', '--out', out) in (1, 2)
    assert 'latents' in capsys.readouterr().err
    assert run('compose', *parts, '--resampler', 'PerceiverResampler', 'num_latents', '--out', out) == 2
    assert 'name=value' in capsys.readouterr().err
    assert run('compose', *parts, '--cross-attn-every-n-layers', 0, '--out', out) == 2
    assert 'at least 1, got 0' in capsys.readouterr().err
    assert not out.exists()
    assert described(['X', 'a=None', 'b=text', 'c=(1, 2)']) == {'type': 'X', 'a': None, 'b': 'text', 'c': (1, 2)}
