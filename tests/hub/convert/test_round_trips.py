"""Exporting a model folder and converting the export back changes no tensor."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from mmgpt.hub import FlamingoProcessor, save_folder
from tests.hub import tiny
from tests.hub.convert import published


def weights(folder):
    return load_file(folder / 'model.safetensors')


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) and value.dtype == other[name].dtype for name, value in one.items())


@pytest.mark.parametrize('ending', ['pt', 'safetensors'])
def test_openflamingo(run, parts, flamingo, tmp_path, ending, capsys):
    file = tmp_path / f'export.{ending}'
    assert run('export-openflamingo', flamingo, '--out', file) == 0
    assert 'what was trained or merged into them stays behind' in capsys.readouterr().out
    exported = load_file(file) if ending == 'safetensors' else torch.load(file, weights_only=True)
    theirs = published.stored('c_of_llama/full_state')
    assert set(exported) == {*published.release_v2(), 'lang_encoder.lm_head.weight'}
    assert all(torch.equal(value, theirs[name]) for name, value in exported.items())
    assert run('openflamingo', file, *parts, '--out', tmp_path / 'again') == 0
    assert_same(weights(tmp_path / 'again'), weights(flamingo))
    assert run('verify', flamingo, tmp_path / 'again', '--tolerance', '0') == 0


def test_otter(run, otter, tmp_path):
    assert run('export-otter', otter, '--out', tmp_path / 'export') == 0
    exported, theirs = weights(tmp_path / 'export'), published.stored('d_otter_image/full_state')
    assert_same(exported, theirs)
    config, published_config = (
        json.loads((folder / 'config.json').read_text())
        for folder in (tmp_path / 'export', published.STORED / 'd_otter_image')
    )
    for part, names in {
        'text_config': (
            'architectures',
            'hidden_size',
            'num_hidden_layers',
            'rope_theta',
            'rope_scaling',
            'vocab_size',
        ),
        'vision_config': ('hidden_size', 'hidden_act', 'image_size', 'patch_size', 'layer_norm_eps'),
    }.items():
        assert {k: config[part][k] for k in names} == {k: published_config[part][k] for k in names}
    assert config['cross_attn_every_n_layers'] == published_config['cross_attn_every_n_layers']
    assert run('otter', tmp_path / 'export', '--out', tmp_path / 'again') == 0
    assert_same(weights(tmp_path / 'again'), weights(otter))


def test_an_openflamingo_becomes_an_otter(run, flamingo, tmp_path):
    """Its tower of open_clip is written under Hugging Face's names, and ``<answer>`` is added."""
    assert run('export-otter', flamingo, '--out', tmp_path / 'export') == 0
    assert run('otter', tmp_path / 'export', '--out', tmp_path / 'otter') == 0
    one, other = (AutoModelForImageTextToText.from_pretrained(f).eval() for f in (flamingo, tmp_path / 'otter'))
    assert other.config.vision_encoder['type'] == 'ClipVision'
    tower, theirs = one.vision_encoder.tower.state_dict(), other.vision_encoder.tower.state_dict()
    parts = [theirs[f'encoder.layers.1.self_attn.{kind}_proj.weight'] for kind in 'qkv']
    assert torch.equal(torch.cat(parts), tower['transformer.resblocks.1.attn.in_proj_weight'])
    assert sum(v.numel() for v in theirs.values()) == sum(v.numel() for k, v in tower.items() if k != 'proj')
    numbers = published.stored('c_of_llama/cases')
    case = {name: numbers[f'unequal.right.{name}'] for name in ('input_ids', 'attention_mask')}
    with torch.no_grad():
        ours = other(**case, pixel_values=numbers['unequal.right.vision_x']).logits[..., :723]
    real = case['attention_mask'] == 1
    torch.testing.assert_close(ours[real], numbers['unequal.right.logits'][real], atol=2e-5, rtol=0)
    assert run('export-otter', tmp_path / 'otter', '--out', tmp_path / 'again') == 0
    exported = weights(tmp_path / 'export')
    grown = ('lang_encoder.model.embed_tokens.weight', 'lang_encoder.lm_head.weight')
    for name, value in weights(tmp_path / 'again').items():
        assert torch.equal(value[:723] if name in grown else value, exported[name])


def test_verify_prints_the_difference_and_fails_above_the_tolerance(run, flamingo, tmp_path, capsys):
    model = AutoModelForImageTextToText.from_pretrained(flamingo)
    with torch.no_grad():
        model.get_output_embeddings().weight[5] += 1e-3
    other = tmp_path / 'other'
    model.save_pretrained(other)
    for name in ('processor_config.json', 'tokenizer.json', 'tokenizer_config.json'):
        (other / name).write_bytes((flamingo / name).read_bytes())
    capsys.readouterr()
    assert run('verify', flamingo, flamingo) == 0
    assert 'largest logit difference: 0, within 1e-05' in capsys.readouterr().out
    assert run('verify', flamingo, other) == 1
    printed = capsys.readouterr().out
    assert 'above 1e-05' in printed
    difference = float(printed.rpartition('difference: ')[2].partition(',')[0])
    assert 1e-4 < difference < 1
    assert run('verify', flamingo, other, '--tolerance', difference * 1.1) == 0


def test_a_folder_that_is_not_there_is_told_before_the_other_is_loaded(run, flamingo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('mmgpt.hub.convert.verify.load_folder', None)
    assert run('verify', flamingo, tmp_path / 'nowhere') == 2
    assert f'there is no model folder {tmp_path / "nowhere"}' in capsys.readouterr().err


def test_models_that_cannot_be_compared_are_refused(run, flamingo, otter, capsys):
    assert run('verify', flamingo, otter) == 1
    assert 'differ in rows of the embedding: 723 and 724' in capsys.readouterr().err


@pytest.mark.parametrize('verb', ['export-openflamingo', 'export-otter'])
def test_what_a_layout_cannot_hold_is_refused(run, mmgpt_base, tmp_path, capsys, verb):
    torch.save({'model_state_dict': published.lora(), 'tuning_config': published.tuning_config()}, tmp_path / 'lora.pt')
    assert run('multimodal-gpt', tmp_path / 'lora.pt', '--base', mmgpt_base, '--out', tmp_path / 'adapted') == 0
    assert run(verb, tmp_path / 'adapted', '--out', tmp_path / 'out') == 1
    assert 'no place for an adapter' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'cross_attn_first_layer': 0}, 'first gated block before layer'),
        ({'resampler': {'type': 'PerceiverResampler', 'depth': 1, 'activation': 'relu'}}, 'GELU and no norms of heads'),
        ({'resampler': {'type': 'PerceiverResampler', 'depth': 1, 'head_norms': True}}, 'GELU and no norms of heads'),
    ],
)
@pytest.mark.parametrize('verb', ['export-openflamingo', 'export-otter'])
def test_what_idefics_does_differently_has_no_place(run, tmp_path, capsys, verb, change, message):
    prompter = tiny.prompter()
    model = tiny.build(prompter, cross_attn_every_n_layers=2, **change)
    save_folder(tmp_path / 'd', model, FlamingoProcessor.for_model(prompter, model))
    assert run(verb, tmp_path / 'd', '--out', tmp_path / 'out') == 1
    assert message in capsys.readouterr().err
