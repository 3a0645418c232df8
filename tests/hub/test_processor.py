import numpy as np
import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer

import mmgpt
from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.hub.messages import read_messages
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.structures import IGNORE_INDEX
from tests.hub import tiny
from tests.hub.tiny import assistant, conversations, image, picture, user

KINDS = list(conversations())


@pytest.fixture(scope='module')
def processor() -> FlamingoProcessor:
    return tiny.model_and_processor()[1]


def prompt(processor, messages, **kwargs):
    how = dict(add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt')
    return processor.apply_chat_template(messages, **{**how, **kwargs})


@pytest.mark.parametrize('kind', KINDS)
def test_a_prompt_is_the_beginning_of_the_training_text(processor, kind):
    asked = conversations()[kind]
    whole = [*asked, assistant('It is a seven.')]
    ids = prompt(processor, asked)['input_ids'][0]
    trained = processor.prompter.encode(read_messages(whole))
    assert len(ids) < len(trained.input_ids)
    assert torch.equal(trained.input_ids[: len(ids)], ids)
    assert (trained.labels[len(ids) :] != IGNORE_INDEX).all(), 'what the prompt leaves to say is what is trained'
    same = prompt(processor, whole, add_generation_prompt=False)['input_ids'][0]
    assert torch.equal(same, trained.input_ids)


@pytest.mark.parametrize('legacy', [True, False])
def test_a_saved_llama_tokenizer_gives_the_ids_that_it_was_trained_with(llama_tokenizer_dir, tmp_path, legacy):
    words = AutoTokenizer.from_pretrained(llama_tokenizer_dir, legacy=legacy)
    add_special_tokens(words, Otter())
    prompts = Prompter(Otter(), words, ImageTransform(16))
    FlamingoProcessor(words, prompts).save_pretrained(tmp_path)
    text = '<image>User: What is it? GPT:<answer>A dog.<|endofchunk|>'
    ids = words(text)['input_ids']
    assert AutoProcessor.from_pretrained(tmp_path).tokenizer(text)['input_ids'] == ids
    assert words.convert_ids_to_tokens(ids)[2].startswith('▁') == legacy


def test_the_text_is_the_templates(processor):
    messages = conversations()['context']
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    assert text == (
        '<image>User: What is this? GPT:<answer> A dog.<|endofchunk|><image>User: What is it called? GPT:<answer>'
    )
    assert processor.apply_chat_template([messages, messages], add_generation_prompt=True) == [text, text]


def test_an_unfinished_answer_is_continued(processor):
    asked = conversations()['image']
    begun = [*asked, assistant('It is')]
    ids = prompt(processor, begun, add_generation_prompt=False, continue_final_message=True)['input_ids'][0].tolist()
    start = prompt(processor, asked)['input_ids'][0].tolist()
    assert ids[: len(start)] == start
    assert processor.decode(ids[len(start) :]) == ' It is'


def test_shapes_of_a_padded_batch(processor):
    batch = list(conversations().values())
    inputs = prompt(processor, batch)
    rows, length = inputs['input_ids'].shape
    assert rows == len(batch)
    assert inputs['pixel_values'].shape == (rows, 2, 3, 3, 16, 16)
    assert inputs['frame_mask'].shape == (rows, 2, 3)
    frames = {kind: inputs['frame_mask'][i].sum(1).tolist() for i, kind in enumerate(KINDS)}
    assert frames == {
        'text': [0, 0],
        'image': [1, 0],
        'two images': [1, 1],
        'context': [1, 1],
        'video': [3, 0],
        'set': [2, 1],
        'system': [1, 0],
    }
    assert not inputs['pixel_values'][~inputs['frame_mask']].any(), 'places without a frame are zero'
    for i, messages in enumerate(batch):
        alone = prompt(processor, messages)
        own = alone['input_ids'].shape[1]
        assert torch.equal(inputs['input_ids'][i, length - own :], alone['input_ids'][0]), 'padding is on the left'
        assert inputs['attention_mask'][i].tolist() == [0] * (length - own) + [1] * own
        assert (inputs['input_ids'][i, : length - own] == processor.pad_token_id).all()


def test_without_pictures_there_are_no_pixels(processor):
    assert set(prompt(processor, conversations()['text'])) == {'input_ids', 'attention_mask'}


def test_pixels_are_normalised_as_the_encoder_wants(processor):
    grey = [user('What?', {'type': 'image', 'image': picture().convert('L')})]
    frame = processor.prompter.frame(picture().convert('L')).double() / 255
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)
    expected = (frame.permute(1, 2, 0).numpy() - mean) / std
    got = prompt(processor, grey)['pixel_values'][0, 0, 0].permute(1, 2, 0).numpy()
    assert got == pytest.approx(expected, abs=1e-5)


def test_without_mean_and_std_pixels_stay_bytes_for_the_model(processor):
    bytes_ = FlamingoProcessor(processor.tokenizer, processor.prompter)
    assert prompt(bytes_, conversations()['image'])['pixel_values'].dtype == torch.uint8
    with pytest.raises(ValueError, match='go together'):
        FlamingoProcessor(processor.tokenizer, processor.prompter, image_mean=[0.5] * 3)


def test_a_long_video_is_thinned_to_what_the_resampler_sees(processor):
    video = [user('What?', {'type': 'video', 'video': [picture(i) for i in range(9)]})]
    assert prompt(processor, video)['frame_mask'].tolist() == [[[True] * 4]]


@pytest.mark.parametrize('kind', KINDS)
def test_marked_text_with_pictures_gives_the_same(processor, kind):
    messages = conversations()[kind]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    media = [m.frames for turn in read_messages(messages) for m in turn.media]
    pictures = [list(frames) if len(frames) > 1 else frames[0] for frames in media] or None
    expected = prompt(processor, messages)
    got = processor(text=text, images=pictures, return_tensors='pt')
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_pictures_of_several_texts_are_given_by_text_or_in_turn(processor):
    texts = ['<image>User: a GPT:<answer>', 'User: b GPT:<answer>', '<image><image>User: c GPT:<answer>']
    pictures = [picture(i) for i in range(3)]
    by_text = processor(text=texts, images=[pictures[:1], [], pictures[1:]])
    in_turn = processor(text=texts, images=pictures)
    assert all(torch.equal(by_text[name], in_turn[name]) for name in by_text)
    assert by_text['frame_mask'].squeeze(-1).tolist() == [[True, False], [False, False], [True, True]]
    one = processor(text=texts[0], images=picture(0))
    assert torch.equal(one['pixel_values'], processor(text=[texts[0]], images=[[picture(0)]])['pixel_values'])
    video = processor(text=texts[0], videos=[pictures])
    assert video['frame_mask'].tolist() == [[[True, True, True]]]
    videos = processor(text=texts[:1] * 2, videos=[pictures[:2], pictures])
    assert videos['frame_mask'].sum(-1).tolist() == [[2], [3]]
    assert processor(text=texts[0], videos=[pictures[:1]])['frame_mask'].tolist() == [[[True]]]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(images=[picture()]), 'text is missing'),
        (dict(text='<image>', images=[]), r'marks of each text is \[1\], of pictures 0'),
        (dict(text='no mark', images=picture()), r'marks of each text is \[0\], of pictures 1'),
        (
            dict(text=['<image>', '<image>'], images=[[picture()] * 2, []]),
            r'marks of each text is \[1, 1\], of pictures lists of \[2, 0\]',
        ),
        (dict(text='<image>', images=[[]]), 'at least one'),
        (dict(text='<image>', images=picture(), videos=[picture()]), 'images or videos'),
        (dict(text=['a', 'longer text'], padding=False), 'padding=True'),
    ],
)
def test_what_does_not_fit_is_told(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


def test_a_mark_smuggled_into_the_text_is_refused(processor):
    with pytest.raises(ValueError, match='<image>'):
        prompt(processor, [user('What is <image>?', image(0))])


@pytest.mark.parametrize('name', ['chat_template', 'tools', 'documents'])
def test_what_a_template_cannot_do_is_refused(processor, name):
    with pytest.raises(ValueError, match=name):
        processor.apply_chat_template(conversations()['text'], **{name: 'x'})


def test_the_assistants_tokens_are_the_supervised_ones(processor):
    messages = [*conversations()['context'], assistant('It is a seven.')]
    inputs = prompt(processor, [messages, messages[:2]], add_generation_prompt=False, return_assistant_tokens_mask=True)
    spoken = [
        processor.decode(ids[mask.bool()])
        for ids, mask in zip(inputs['input_ids'], inputs['assistant_masks'], strict=True)
    ]
    assert spoken == [' A dog.<|endofchunk|> It is a seven.<|endofchunk|></s>', ' A dog.<|endofchunk|></s>']


def test_other_forms_of_the_result(processor):
    messages = conversations()['image']
    tensors = prompt(processor, messages)
    assert torch.equal(prompt(processor, messages, return_dict=False), tensors['input_ids'])
    assert prompt(processor, messages, return_tensors=None)['input_ids'] == tensors['input_ids'].tolist()
    assert isinstance(prompt(processor, messages, return_tensors='np')['pixel_values'], np.ndarray)
    right = prompt(processor, [messages, conversations()['text']], processor_kwargs={'padding_side': 'right'})
    assert right['attention_mask'][:, 0].all()


def test_features_move_and_change_dtype(processor):
    inputs = prompt(processor, conversations()['image']).to('meta', dtype=torch.bfloat16)
    assert inputs['pixel_values'].dtype == torch.bfloat16
    assert inputs['input_ids'].dtype == torch.int64
    assert {value.device.type for value in inputs.values()} == {'meta'}


@pytest.mark.parametrize('load', [AutoProcessor, FlamingoProcessor])
def test_saved_and_loaded_it_gives_the_same(processor, tmp_path, load):
    assert mmgpt.__version__  # the import registers the Auto classes
    processor.save_pretrained(tmp_path)
    loaded = load.from_pretrained(tmp_path)
    assert type(loaded) is FlamingoProcessor
    assert loaded.to_dict() == processor.to_dict()
    batch = list(conversations().values())
    before, after = prompt(processor, batch), prompt(loaded, batch)
    assert all(torch.equal(before[name], after[name]) for name in before)
