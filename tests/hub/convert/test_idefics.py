"""Idefics: a folder of transformers in, a model folder out."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from mmgpt.data.templates import Idefics
from mmgpt.data.tokens import add_special_tokens
from mmgpt.hub.convert.idefics import convert
from mmgpt.hub.convert.report import ConversionError
from tests.hub.tiny import picture
from tests.models.idefics import image_attention_mask, oracle, rows


@pytest.fixture(scope='module')
def tokenizer(llama_tokenizer_dir):
    """As the tuned models have it: LLaMA's, its unknown token for padding, and three tokens more."""
    words = AutoTokenizer.from_pretrained(llama_tokenizer_dir)
    words.pad_token = words.unk_token
    add_special_tokens(words, Idefics())
    return words


@pytest.fixture(scope='module')
def theirs(tokenizer):
    return oracle('as published', vocab_size=len(tokenizer) - 3, additional_vocab_size=3)


@pytest.fixture(scope='module')
def source(tmp_path_factory, theirs, tokenizer):
    folder = tmp_path_factory.mktemp('idefics') / 'tiny'
    theirs.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / 'preprocessor_config.json').write_text(json.dumps({'image_mean': [0.4, 0.5, 0.6], 'image_size': 30}))
    return folder


@pytest.fixture(scope='module')
def converted(source):
    out = source.with_name('converted')
    return out, convert(str(source), str(out))


def copied(source, folder):
    folder.mkdir()
    for file in source.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@torch.no_grad()
def test_the_auto_classes_load_the_same_model(converted, theirs, tokenizer):
    ours = AutoModelForImageTextToText.from_pretrained(converted[0]).eval()
    mark = tokenizer.convert_tokens_to_ids('<image>')
    assert ours.config.media_token_id == mark
    ids, images = rows([[1, 4], [3, 9]], mark)
    mask = image_attention_mask(ids, mark, 2)
    expected = theirs(input_ids=ids, pixel_values=images, image_attention_mask=mask).logits
    got = ours(input_ids=ids, pixel_values=images.unsqueeze(2)).logits
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)


def test_every_tensor_is_accounted_for(converted, theirs):
    out, report = converted
    assert [*report.missing, *report.unexpected, *report.resized] == []
    assert set(report.loaded) == theirs.state_dict().keys()
    assert json.loads((out / 'conversion_report.json').read_text())['loaded'] == report.loaded


def test_the_folder_answers_messages(converted):
    model = AutoModelForImageTextToText.from_pretrained(converted[0]).eval()
    processor = AutoProcessor.from_pretrained(converted[0])
    image = {'type': 'image', 'image': picture(1)}
    messages = [{'role': 'user', 'content': [image, {'type': 'text', 'text': 'what is this'}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    fence = '<fake_token_around_image>'
    assert text == f'User:{fence}<image>{fence}what is this<end_of_utterance>\nAssistant:'
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert processor.image_mean == [0.4, 0.5, 0.6]
    output = model.generate(**inputs, max_new_tokens=3)
    assert output.shape[1] <= inputs['input_ids'].shape[1] + 3
    ends = processor.tokenizer.convert_tokens_to_ids(['<end_of_utterance>', '</s>'])
    assert model.generation_config.eos_token_id == ends


def test_the_type_of_the_numbers_is_kept_or_chosen(source, theirs, tmp_path):
    half = copied(source, tmp_path / 'half')
    state = {key: value.bfloat16() for key, value in load_file(source / 'model.safetensors').items()}
    save_file(state, half / 'model.safetensors', metadata={'format': 'pt'})
    for dtype, expected in ((None, torch.bfloat16), ('float32', torch.float32)):
        convert(str(half), str(tmp_path / str(dtype)), dtype=dtype)
        tensors = load_file(tmp_path / str(dtype) / 'model.safetensors')
        assert {value.dtype for value in tensors.values()} == {expected}


def test_a_base_models_tokenizer_knows_no_end_of_utterance(source, llama_tokenizer_dir, tmp_path):
    words = AutoTokenizer.from_pretrained(llama_tokenizer_dir)
    words.pad_token = words.unk_token
    add_special_tokens(words, Idefics(end_of_utterance=False))
    words.save_pretrained(tmp_path / 'words')
    convert(str(source), str(tmp_path / 'out'), tokenizer=str(tmp_path / 'words'))
    template = AutoProcessor.from_pretrained(tmp_path / 'out').prompter.template
    assert template.to_dict() == {'type': 'Idefics', 'end_of_utterance': False, 'answer_token': False}


def test_tokens_without_a_row_get_one(source, tokenizer, tmp_path):
    words = AutoTokenizer.from_pretrained(source)
    words.add_tokens(['<answer>'])
    words.save_pretrained(tmp_path / 'words')
    report = convert(str(source), str(tmp_path / 'out'), tokenizer=str(tmp_path / 'words'))
    assert [(entry['from'], entry['to']) for entry in report.resized] == [(len(words) - 1, len(words))] * 2
    assert AutoProcessor.from_pretrained(tmp_path / 'out').prompter.template.answer_token


def damaged(state):
    key = 'model.gated_cross_attn_layers.1.cross_attn.v_proj.weight'
    return {k: v for k, v in state.items() if k != key}


def extended(state):
    return {**state, 'model.gated_cross_attn_layers.7.alpha_dense': torch.zeros(1)}


@pytest.mark.parametrize(
    ('change', 'message'),
    [(damaged, r'gated_blocks\.2\.attn\.to_kv\.weight: \(32, 32\)'), (extended, r'unexpected: gated_blocks\.14\.ff')],
)
def test_tensors_that_do_not_fit_are_refused_and_nothing_is_written(source, tmp_path, change, message):
    folder = copied(source, tmp_path / 'source')
    save_file(change(load_file(source / 'model.safetensors')), folder / 'model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ConversionError, match=message):
        convert(str(folder), str(tmp_path / 'out'))
    assert [path.name for path in tmp_path.iterdir()] == ['source']


def test_another_model_and_a_folder_without_tokenizer_are_refused(source, tmp_path):
    folder = copied(source, tmp_path / 'source')
    for file in folder.glob('tokenizer*'):
        file.unlink()
    with pytest.raises(OSError, match='no tokenizer at'):
        convert(str(folder), str(tmp_path / 'out'))
    (folder / 'config.json').write_text(json.dumps({'model_type': 'idefics2'}))
    with pytest.raises(ConversionError, match="'idefics2'; expected 'idefics'"):
        convert(str(folder), str(tmp_path / 'out'))
    assert not (tmp_path / 'out').exists()
