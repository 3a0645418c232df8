"""Published checkpoints, converted by the command and loaded by the Auto classes, give the published numbers."""

import json

import pytest
import torch
from mmengine.config import Config, ConfigDict
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from tests.hub.convert import published
from tests.hub.convert.published import ADDED, stored

TOLERANCE = 2e-5
IMAGE = 721


def loaded(folder):
    model, processor = (kind.from_pretrained(folder) for kind in (AutoModelForImageTextToText, AutoProcessor))
    report = json.loads((folder / 'conversion_report.json').read_text())
    assert report['loaded']
    assert report['missing'] == report['unexpected'] == []
    assert model.config.media_token_id == processor.image_token_id == IMAGE
    return model.eval(), processor


def inputs(numbers, case, pixels=None):
    names = dict(input_ids='input_ids', attention_mask='attention_mask', pixel_values='vision_x')
    found = {ours: numbers[f'{case}.{theirs}'] for ours, theirs in names.items() if f'{case}.{theirs}' in numbers}
    return found if pixels is None else {**found, 'pixel_values': numbers[pixels]}


@torch.no_grad()
def assert_logits(model, numbers, cases, name='logits', without=ADDED):
    kept = [i for i in range(model.config.text_config.vocab_size) if i not in without]
    for case in cases:
        real = numbers[f'{case}.attention_mask'] == 1
        ours, theirs = model(**inputs(numbers, case)).logits[real], numbers[f'{case}.{name}'][real]
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours[:, kept], theirs[:, kept], atol=TOLERANCE, rtol=0)


def assert_greedy(model, numbers, case, given, without=ADDED):
    expected, scores = numbers[f'{case}.gen_ids.cache0'], numbers[f'{case}.gen_scores.cache0']
    out = model.generate(
        **given,
        max_new_tokens=scores.shape[1],
        eos_token_id=None,
        output_scores=True,
        return_dict_in_generate=True,
    )
    kept = [i for i in range(scores.shape[2]) if i not in {*without, IMAGE}]  # ours never gives an <image> mark
    torch.testing.assert_close(torch.stack(out.scores, 1)[..., kept], scores[..., kept], atol=TOLERANCE, rtol=0)
    assert torch.equal(out.sequences, expected)


FORMS = {
    'v1': published.release_v1,
    'v2': published.release_v2,
    'training': lambda: published.training_form(published.release_v2()),
}


@pytest.mark.parametrize('form', FORMS)
def test_openflamingo(run, parts, tmp_path, form):
    torch.save(FORMS[form](), tmp_path / 'checkpoint.pt')
    assert run('openflamingo', tmp_path / 'checkpoint.pt', *parts, '--out', tmp_path / 'd') == 0
    model, processor = loaded(tmp_path / 'd')
    assert model.config.cross_attn_every_n_layers == 2
    assert processor.tokenizer.convert_tokens_to_ids(['<|endofchunk|>', '<image>', '<PAD>']) == ADDED
    numbers = stored('c_of_llama/cases')
    assert_logits(model, numbers, ['one_image.right', 'two_images.right', 'unequal.right', 'unequal.left'])
    for case in ('one_image.right', 'two_images.right', 'unequal.left'):
        assert_greedy(model, numbers, case, inputs(numbers, case))
    expected = numbers['two_images.right.gen_ids.beam3']
    given = inputs(numbers, 'two_images.right')
    length = expected.shape[1] - given['input_ids'].shape[1]
    assert torch.equal(model.generate(**given, num_beams=3, max_new_tokens=length, eos_token_id=None), expected)


def test_openflamingo_whole_with_normalised_patches(run, parts, tmp_path):
    whole = published.STORED / 'c_of_llama/full_state.safetensors'
    assert run('openflamingo', whole, *parts, '--normalized-patch-tokens', '--out', tmp_path / 'd') == 0
    model, _ = loaded(tmp_path / 'd')
    numbers = {**stored('c_of_llama/cases'), **stored('c_of_llama/cases_oc330')}
    assert_logits(model, numbers, ['unequal.right'], without=[])


def otter_form(folder, form):
    """Writes a published folder in one form; returns what to convert."""
    whole = stored('d_otter_image/full_state')
    published.otter(folder)
    if form == 'bin':
        torch.save(whole, folder / 'pytorch_model.bin')
    elif form == 'safetensors':
        save_file(whole, folder / 'model.safetensors')
    elif form.startswith('shards'):
        published.write_shards(whole, folder, safe=form.endswith('safetensors'))
    else:  # a file of training beside the weights that it began with
        trained = published.otter_trained()
        torch.save({**whole, **{key: whole[key] + 0.1 for key in trained}}, folder / 'pytorch_model.bin')
        torch.save(trained if form == 'final_weights.pt' else {'model_state_dict': trained}, folder / form)
        return folder / form
    return folder


@pytest.mark.parametrize(
    'form', ['bin', 'safetensors', 'shards.bin', 'shards.safetensors', 'final_weights.pt', 'checkpoint_2.pt']
)
def test_otter(run, tmp_path, form):
    assert run('otter', otter_form(tmp_path / 'otter', form), '--out', tmp_path / 'd') == 0
    model, processor = loaded(tmp_path / 'd')
    tokens = ['<|endofchunk|>', '<image>', '<answer>', '<PAD>']
    assert processor.tokenizer.convert_tokens_to_ids(tokens) == [720, 721, 722, 723]
    numbers = stored('d_otter_image/cases')
    assert_logits(model, numbers, ['single', 'batch'], without=[])
    for case in ('single', 'batch'):
        given = inputs(numbers, f'{case}.gen', pixels=f'{case}.vision_x')
        assert_greedy(model, numbers, case, given, without=[])


def test_otter_of_its_training_file_alone(run, tmp_path):
    """The frozen weights come from another folder, and the newest file of training is found."""
    base, trained = published.otter(tmp_path / 'base'), published.otter(tmp_path / 'trained')
    theirs = stored('d_otter_image/full_state')
    published.write_shards(theirs, base, safe=False)
    for step in (2, 10):
        state = {key: value * step for key, value in published.otter_trained().items()}
        torch.save({'model_state_dict': state}, trained / f'checkpoint_steps_{step}.pt')
    assert run('otter', trained, '--base', base, '--out', tmp_path / 'd') == 0
    model, _ = loaded(tmp_path / 'd')
    assert torch.equal(model.resampler.latents, theirs['perceiver.latents'] * 10)
    assert torch.equal(model.language_model.model.norm.weight, theirs['lang_encoder.model.norm.weight'])


def test_a_whole_otter_is_not_replaced_by_its_base(run, tmp_path):
    base, own = (otter_form(tmp_path / name, 'bin') for name in ('base', 'own'))
    state = {**stored('d_otter_image/full_state'), 'perceiver.latents': torch.ones(64, 16)}
    torch.save(state, own / 'pytorch_model.bin')
    assert run('otter', own, '--base', base, '--out', tmp_path / 'd') == 0
    assert torch.equal(loaded(tmp_path / 'd')[0].resampler.latents, state['perceiver.latents'])


SETTINGS = {
    'plain': dict(tuning_config=published.tuning_config()),
    'object': dict(tuning_config=ConfigDict(published.tuning_config())),
    'deeper': dict(epoch=3, tuning_config=Config(dict(type='x', tuning_config=published.tuning_config()))),
    'none': {},
}


@pytest.mark.parametrize(
    ('settings', 'names', 'options'),
    [
        ('object', {}, []),
        ('plain', dict(default=False), []),
        ('deeper', dict(module=False), ['--merge']),
        ('none', dict(default=False, module=False), ['--attend', 'previous']),
    ],
)
def test_multimodal_gpt(run, mmgpt_base, tmp_path, settings, names, options):
    torch.save({'model_state_dict': published.lora(**names), **SETTINGS[settings]}, tmp_path / 'lora.pt')
    assert run('multimodal-gpt', tmp_path / 'lora.pt', '--base', mmgpt_base, '--out', tmp_path / 'd', *options) == 0
    model, processor = loaded(tmp_path / 'd')
    assert (model.config.adapter is None) == ('--merge' in options)
    assert '### Response:' in processor.apply_chat_template(
        [{'role': 'user', 'content': 'Hi'}], add_generation_prompt=True
    )
    numbers = stored('e_mmgpt/cases')
    if 'previous' in options:
        assert_logits(model, numbers, ['image.right', 'image.left'], 'prev1.logits')
        return
    assert_logits(model, numbers, ['image.right', 'image.left', 'lang.right', 'lang.left'])
    for case in ('image', 'lang'):
        expected, given = numbers[f'{case}.gen_ids.cache0'], inputs(numbers, f'{case}.left')
        start = given['input_ids'].shape[1]
        ours = model.generate(**given, max_new_tokens=expected.shape[1] - start, eos_token_id=None)
        for row, theirs in zip(ours[:, start:], expected[:, start:], strict=True):
            foreign = [i for i, token in enumerate(theirs) if token in ADDED]  # from a head row that no release holds
            end = foreign[0] if foreign else None
            assert torch.equal(row[:end], theirs[:end])


def test_merging_changes_no_logits(run, mmgpt_base, tmp_path):
    file = tmp_path / 'lora.pt'
    torch.save({'model_state_dict': published.lora(), 'tuning_config': published.tuning_config()}, file)
    assert run('multimodal-gpt', file, '--base', mmgpt_base, '--out', tmp_path / 'apart') == 0
    assert run('multimodal-gpt', file, '--base', mmgpt_base, '--out', tmp_path / 'merged', '--merge') == 0
    numbers = stored('e_mmgpt/cases')
    with torch.no_grad():
        one, other = (loaded(tmp_path / d)[0](**inputs(numbers, 'image.left')).logits for d in ('apart', 'merged'))
    real = numbers['image.left.attention_mask'] == 1
    torch.testing.assert_close(one[real], other[real], atol=1e-5, rtol=0)
