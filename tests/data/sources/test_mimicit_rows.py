"""Whole rows of MIMIC-IT's tasks: text, labels, media and context, against the published rules."""

import base64
import json

import pytest

from mmgpt.data.builder import build_dataset
from mmgpt.data.collate import PadCollate
from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter, OtterLlama2
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.structures import IGNORE_INDEX

SIZE = 8


def entry(question, answer, images=(), related=()):
    return {'instruction': question, 'answer': answer, 'image_ids': list(images), 'rel_ins_ids': list(related)}


TASKS = {
    'LACR_I2I': {
        f'LACR_I2I_INS_{i}': entry(f'q{i}?', f'a{i}', [f'IMG_{i}'], [f'LACR_I2I_INS_{j}' for j in range(4) if j != i])
        for i in range(4)
    },
    'LACONV': {
        f'LACONV_00_INS_9_{i}': entry(f'q{i}?', f'a{i}', ['IMG_0'], [f'LACONV_00_INS_9_{j}' for j in range(i)])
        for i in range(3)
    },
    'SD': {
        'SD_INS_0': entry('What changed?', 'A car left.', ['IMG_0', 'IMG_1'], ['SD_INS_1']),
        'SD_INS_1': entry('Is it open?', 'Only here.', ['IMG_0', 'IMG_1'], ['SD_INS_0']),
    },
    'DC': {
        'DC_INS_0': entry('Who?', 'A man.', [f'IMG_{i}' for i in range(5)], ['DC_INS_1']),
        'DC_INS_1': entry('Where?', 'At sea.', [f'IMG_{i}' for i in range(40)], ['DC_INS_0']),
    },
    'TXT': {'TXT_INS_0': {'instruction': 'Hi?', 'answer': 'Hello.'}},
}


@pytest.fixture
def folder(tmp_path, make_picture):
    for name, data in TASKS.items():
        (tmp_path / f'{name}_instructions.json').write_text(json.dumps({'meta': {'version': '0.0.1'}, 'data': data}))
    pictures = {f'IMG_{i}': base64.b64encode(make_picture(i, 6)).decode() for i in range(40)}
    (tmp_path / 'images.json').write_text(json.dumps(pictures))
    return tmp_path


@pytest.fixture
def rows(folder, any_tokenizer):
    def make(task, template=None, **options):
        template = template or Otter()
        add_special_tokens(any_tokenizer, template)
        prompter = Prompter(template, any_tokenizer, ImageTransform(SIZE))
        source = dict(type='MimicIt', instructions=str(folder / f'{task}_instructions.json'), **options)
        if task != 'TXT':
            source['images'] = str(folder / 'images.json')
        dataset = build_dataset({'sources': [source]}, prompter)
        return dataset, any_tokenizer

    return make


def check(dataset, tokenizer, index, text, answers, media):
    """A row is the text between its ends; trained are the answers with their end marks, and the end of text."""
    row = dataset.encode((0, index, 0))
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = [*begin, *tokenizer(text, add_special_tokens=False)['input_ids'], tokenizer.eos_token_id]
    assert row.input_ids.tolist() == ids
    open_, close = tokenizer.convert_tokens_to_ids(['<answer>', '<|endofchunk|>'])
    labels, trained = [], False
    for one in ids:
        labels.append(one if trained or one == tokenizer.eos_token_id else IGNORE_INDEX)
        trained = (trained or one == open_) and one != close
    assert row.labels.tolist() == [IGNORE_INDEX, *labels[1:]]
    assert text.count('<answer>') == answers
    assert [list(medium.frames) for medium in row.media] == media
    return row


def test_images_in_context_have_a_mark_and_a_medium_each(rows):
    dataset, tokenizer = rows('LACR_I2I', retriever=dict(type='RelatedInstructions', num=2, pick='first'))
    text = ''.join(f'<image>User:q{i}? GPT:<answer>a{i}<|endofchunk|>' for i in (0, 1, 3))
    row = check(dataset, tokenizer, 3, text, 3, [['IMG_0'], ['IMG_1'], ['IMG_3']])
    assert row.context_ids == ('LACR_I2I_INS_0', 'LACR_I2I_INS_1')


def test_rounds_of_a_conversation_share_one_mark(rows):
    dataset, tokenizer = rows('LACONV', retriever=dict(type='RelatedInstructions'), marks='first')
    for last in range(3):
        text = '<image>' + ''.join(f'User:q{i}? GPT:<answer>a{i}<|endofchunk|>' for i in range(last + 1))
        row = check(dataset, tokenizer, last, text, last + 1, [['IMG_0']])
        assert row.context_ids == tuple(f'LACONV_00_INS_9_{i}' for i in range(last))


def test_a_pair_is_one_medium_of_two_frames(rows):
    dataset, tokenizer = rows('SD')
    check(dataset, tokenizer, 0, '<image>User:What changed? GPT:<answer>A car left.<|endofchunk|>', 1,
          [['IMG_0', 'IMG_1']])  # fmt: skip
    dataset, tokenizer = rows('SD', retriever=dict(type='RelatedInstructions'), marks='first')
    text = '<image>User:Is it open? GPT:<answer>Only here.<|endofchunk|>'
    text += 'User:What changed? GPT:<answer>A car left.<|endofchunk|>'
    check(dataset, tokenizer, 0, text, 2, [['IMG_0', 'IMG_1']])


def test_videos_are_one_medium_and_longer_ones_are_thinned(rows):
    dataset, tokenizer = rows('DC', kind='video', max_frames=16)
    first = check(dataset, tokenizer, 0, '<image>User:Who? GPT:<answer>A man.<|endofchunk|>', 1,
                  [[f'IMG_{i}' for i in range(5)]])  # fmt: skip
    thinned = [f'IMG_{int(i * 39 / 15)}' for i in range(16)]
    check(dataset, tokenizer, 1, '<image>User:Where? GPT:<answer>At sea.<|endofchunk|>', 1, [thinned])
    assert first.kind == 'video'
    items = dataset.__getitems__([(0, 0, 0), (0, 1, 0)])
    batch = PadCollate(tokenizer.pad_token_id)(items)
    assert batch['media_frames'].shape == (2, 1, 16)
    assert (batch['media_frames'][0, 0] >= 0).tolist() == [True] * 5 + [False] * 11


def test_text_alone_has_no_mark(rows):
    dataset, tokenizer = rows('TXT')
    row = check(dataset, tokenizer, 0, 'User:Hi? GPT:<answer>Hello.<|endofchunk|>', 1, [])
    assert row.kind == 'text'
    dataset, tokenizer = rows('TXT', OtterLlama2())
    check(dataset, tokenizer, 0, '[INST]\nHi?[/INST]<answer>Hello.<|endofchunk|>', 1, [])


def test_padding_is_not_trained_even_where_it_is_the_end_of_text(rows):
    dataset, tokenizer = rows('LACONV', retriever=dict(type='RelatedInstructions'), marks='first')
    batch = PadCollate(tokenizer.eos_token_id)(dataset.__getitems__([(0, 0, 0), (0, 2, 0)]))
    length = len(dataset.encode((0, 0, 0)).input_ids)
    assert batch['input_ids'].shape[1] > length
    assert (batch['labels'][0, length:] == IGNORE_INDEX).all()
    assert batch['labels'][0, length - 1] == tokenizer.eos_token_id


def test_a_row_too_long_gives_up_its_oldest_examples_first(folder, rows):
    dataset, tokenizer = rows('LACR_I2I', retriever=dict(type='RelatedInstructions'))
    whole = dataset.encode((0, 3, 0))
    dataset.max_seq_len = len(whole.input_ids) - 4
    text = ''.join(f'<image>User:q{i}? GPT:<answer>a{i}<|endofchunk|>' for i in (1, 2, 3))
    check(dataset, tokenizer, 3, text, 3, [['IMG_1'], ['IMG_2'], ['IMG_3']])
