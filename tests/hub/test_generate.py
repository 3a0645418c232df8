"""Generation through the Auto classes, from a folder that was saved."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, TextIteratorStreamer

from mmgpt.hub.io import load_folder, save_folder
from mmgpt.hub.processor import FlamingoProcessor
from tests.hub import tiny
from tests.hub.tiny import conversations

KINDS = list(conversations())
NEW = 8  # tokens


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp('saved') / 'tiny', *tiny.model_and_processor())


@pytest.fixture(scope='module')
def loaded(folder):
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


def inputs_of(processor, messages):
    return processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt'
    )


def answer(loaded, messages, **kwargs):
    """The generated ids, always ``NEW`` of them: an early end would hide differences."""
    model, processor = loaded
    inputs = inputs_of(processor, messages)
    how = dict(max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False)
    return model.generate(**inputs, **{**how, **kwargs})[:, inputs['input_ids'].shape[1] :]


def test_the_folder_is_self_contained_and_loads_strictly(folder):
    assert AutoConfig.from_pretrained(folder).model_type == 'mmgpt_flamingo'
    model, notes = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(notes.values()), notes
    original = tiny.model_and_processor()[0].state_dict()
    assert original.keys() == model.state_dict().keys()
    assert all(torch.equal(original[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize('kind', KINDS)
def test_the_loaded_model_answers_as_the_saved_one(loaded, kind):
    assert torch.equal(answer(loaded, conversations()[kind]), answer(tiny.model_and_processor(), conversations()[kind]))


def test_pictures_change_the_answer(loaded):
    answers = {tuple(answer(loaded, [tiny.user('What?', tiny.image(i))])[0].tolist()) for i in range(4)}
    assert len(answers) > 1


@pytest.mark.parametrize('how', [{}, {'num_beams': 3}, {'use_cache': False}], ids=['greedy', 'beams', 'no cache'])
def test_a_left_padded_batch_answers_as_its_rows_alone(loaded, how):
    batch = list(conversations().values())
    together = answer(loaded, batch, **how)
    for i, messages in enumerate(batch):
        assert torch.equal(together[i], answer(loaded, messages, **how)[0]), KINDS[i]


@pytest.mark.parametrize('kind', KINDS)
def test_with_and_without_cache_answer_alike(loaded, kind):
    messages = conversations()[kind]
    assert torch.equal(answer(loaded, messages), answer(loaded, messages, use_cache=False))


def test_logits_with_cache_equal_those_of_the_whole_text(loaded):
    """The scores of each step, not only the ids: a wrong visual side can hide behind a clear maximum."""
    model, processor = loaded
    inputs = inputs_of(processor, list(conversations().values()))
    length = inputs['input_ids'].shape[1]
    out = model.generate(
        **inputs, max_new_tokens=NEW, min_new_tokens=NEW, output_logits=True, return_dict_in_generate=True
    )
    whole = {**inputs, 'input_ids': out.sequences, 'attention_mask': None}
    new = torch.ones(len(out.sequences), NEW, dtype=torch.long)
    whole['attention_mask'] = torch.cat([inputs['attention_mask'], new], 1)
    with torch.no_grad():
        logits = model(**whole).logits[:, length - 1 : -1]
    torch.testing.assert_close(torch.stack(out.logits, 1), logits, atol=1e-4, rtol=0)


def test_sampling_follows_the_seed(loaded):
    def draw(seed):
        torch.manual_seed(seed)
        return answer(loaded, conversations()['image'], do_sample=True, temperature=2.0, top_k=0)

    assert torch.equal(draw(1), draw(1))
    assert len({tuple(draw(seed)[0].tolist()) for seed in range(4)}) > 1


LANGUAGE_MODELS = {
    'mpt': dict(d_model=32, n_heads=2, n_layers=2, expansion_ratio=1, max_seq_len=128),
    'opt': dict(hidden_size=32, word_embed_proj_dim=32, ffn_dim=32, num_hidden_layers=2, num_attention_heads=2),
    'qwen3': dict(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
    ),
}


@pytest.mark.parametrize('without_media', ['skip', 'zero_attention'])
@pytest.mark.parametrize('name', LANGUAGE_MODELS)
def test_other_language_models_load_and_answer_in_batches(tmp_path, name, without_media):
    """Llama's way with keywords, positions and masks is not everyone's."""
    decoder = {'type': 'MPT' if name == 'mpt' else 'CausalLM', 'config': {'model_type': name, **LANGUAGE_MODELS[name]}}
    prompts = tiny.prompter()
    model = tiny.build(prompts, language_decoder=decoder, without_media=without_media)
    save_folder(tmp_path / 'model', model, FlamingoProcessor.for_model(prompts, model))
    loaded = load_folder(tmp_path / 'model', device='cpu')
    batch = list(conversations().values())
    together = answer(loaded, batch)
    assert torch.equal(together, answer(loaded, batch, use_cache=False))
    for i, messages in enumerate(batch):
        assert torch.equal(together[i], answer(loaded, messages)[0]), KINDS[i]


def test_several_answers_per_question(loaded):
    batch = [conversations()['image'], conversations()['context']]
    best = answer(loaded, batch, num_beams=3, num_return_sequences=2)
    assert best.shape == (4, NEW)
    assert torch.equal(best[::2], answer(loaded, batch, num_beams=3))


def test_a_streamer_gets_the_answer(loaded):
    model, processor = loaded
    inputs = inputs_of(processor, conversations()['context'])
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
    out = model.generate(**inputs, max_new_tokens=NEW, do_sample=False, streamer=streamer)
    expected = processor.decode(out[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True)
    assert ''.join(streamer) == expected


@pytest.mark.parametrize(
    'how', [{}, {'num_beams': 2}, {'do_sample': True, 'top_k': 0}], ids=['greedy', 'beams', 'draw']
)
def test_the_image_mark_is_never_generated(how):
    model, processor = tiny.model_and_processor()
    model = copy.deepcopy(model)
    mark = processor.image_token_id
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[mark] = 1e4
    head.bias = torch.nn.Parameter(bias)
    inputs = inputs_of(processor, conversations()['image'])
    with torch.no_grad():
        assert model(**inputs).logits[:, -1].argmax() == mark, 'the mark must be the likeliest, else nothing is tested'
    torch.manual_seed(0)
    out = model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW, **how)
    assert mark not in out[0, inputs['input_ids'].shape[1] :]


def test_an_answer_ends_at_the_templates_stop_token():
    model, processor = tiny.model_and_processor()
    model = copy.deepcopy(model)
    stop = processor.prompter.stop_token_id
    head = model.get_output_embeddings()
    bias = torch.zeros(head.out_features)
    bias[stop] = 1e4
    head.bias = torch.nn.Parameter(bias)
    inputs = inputs_of(processor, conversations()['image'])
    out = model.generate(**inputs, max_new_tokens=NEW)
    assert out[0, inputs['input_ids'].shape[1] :].tolist() == [stop]


def test_marks_without_pictures_are_an_error(loaded):
    model, processor = loaded
    inputs = inputs_of(processor, conversations()['two images'])
    del inputs['pixel_values'], inputs['frame_mask']
    with pytest.raises(ValueError, match='<image>'):
        model.generate(**inputs, max_new_tokens=1)


def test_a_padded_picture_changes_nothing(loaded):
    model, processor = loaded
    inputs = inputs_of(processor, conversations()['video'])
    expected = model(**inputs).logits
    pixels, mask = inputs['pixel_values'], inputs['frame_mask']
    more = torch.full((1, 2, 4, *pixels.shape[3:]), 9.0)
    more[:, :1, :3] = pixels
    frames = torch.zeros(1, 2, 4, dtype=torch.bool)
    frames[:, :1, :3] = mask
    got = model(**{**inputs, 'pixel_values': more, 'frame_mask': frames}).logits
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float32])
def test_dtype_and_device_are_the_users(folder, dtype):
    model, processor = load_folder(folder, device='cpu', dtype=dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert not model.training
    inputs = inputs_of(processor, list(conversations().values())).to(model.device, dtype=model.dtype)
    out = model.generate(**inputs, max_new_tokens=2, min_new_tokens=2)
    assert out.shape == (len(KINDS), inputs['input_ids'].shape[1] + 2)


def test_bytes_and_normalised_pixels_give_the_same(loaded):
    model, processor = loaded
    bytes_ = type(processor)(processor.tokenizer, processor.prompter)
    messages = conversations()['two images']
    a, b = (model(**inputs_of(each, messages)).logits for each in (processor, bytes_))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_the_pipeline_answers(folder, loaded):
    from transformers import pipeline

    ask = pipeline('image-text-to-text', model=str(folder), device='cpu')
    messages = conversations()['image']
    how = dict(return_full_text=False, generate_kwargs=dict(max_new_tokens=NEW, min_new_tokens=NEW))
    got = ask(text=messages, **how)
    expected = loaded[1].decode(answer(loaded, messages)[0], skip_special_tokens=True).strip()
    assert got[0]['generated_text'].strip() == expected
    text = loaded[1].apply_chat_template(messages, add_generation_prompt=True)
    got = ask(text=text, images=[tiny.picture(0)], **how)
    assert got[0]['generated_text'].strip() == expected
