"""A made-up record of each schema, and by hand what is to be read and what is to be trained."""

import base64
import json

import numpy as np
import pytest

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import write_parquet_images
from mmgpt.data.prompter import Prompter
from mmgpt.data.sources import requests
from mmgpt.data.sources.table import source_from_files
from mmgpt.data.templates import MultiModalGPT
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.structures import IGNORE_INDEX

LEAD = 'Below is an instruction that describes a task. Write a response that appropriately completes the request.'
PICTURE = '\n\n### Image:\n<image>'


def asked(question: str) -> str:
    return f'\n\n### Instruction:\n{question}\n\n### Response:\n'


def talk(*texts: str) -> list[dict]:
    return [{'from': ('human', 'gpt')[number % 2], 'value': text} for number, text in enumerate(texts)]


ROUNDS = talk('Where is\nit?<image>', 'On a hill.', 'Who built it?', 'A smith.', 'Still used?', 'No, it fell.')
BAIZE = 'A chat.\n[|Human|] Is salt old?\n[|AI|] Older than\nus.\n[|Human|] Who sold it?\n[|AI|] Romans.'
RECORDS = [  # source, file, the keys of its pictures, [(prompt, response), …]
    ('llava', [{'id': 'x', 'image': 'm/1.jpg', 'conversations': ROUNDS}], ['m/1.jpg'],
     [(LEAD + PICTURE + asked('Where isit?'), 'On a hill.')]),
    ('llava_dial', [{'id': 'x', 'image': 'm/1.jpg', 'conversations': ROUNDS}], ['m/1.jpg'],
     [(LEAD + PICTURE + asked('Where isit?'), 'On a hill.'), (asked('Who built it?'), 'A smith.'),
      (asked('Still used?'), 'No, it fell.')]),
    ('clevr', {'info': {}, 'questions': [{'question': 'How many cubes?', 'answer': '3', 'split': 'val',
                                          'image_filename': 'C_7.png', 'program': []}]}, ['val/C_7.png'],
     [(LEAD + PICTURE + asked('How many cubes?'), '3')]),
    ('gqa', {'09': {'question': 'Is it wet?', 'answer': 'no', 'fullAnswer': 'No, it is dry.', 'imageId': 'n55'}},
     ['n55.jpg'], [(LEAD + PICTURE + asked('Is it wet?'), 'No, it is dry.')]),
    ('ocr_vqa', {'B01': {'imageURL': 'http://x.y/z/B01.gif', 'questions': ['Who drew it?'], 'answers': ['M. Ink'],
                         'title': 't', 'authorName': 'a', 'genre': 'g', 'split': 2}}, ['B01.gif'],
     [(LEAD + PICTURE + asked('Who drew it?'), 'M. Ink')]),
    ('ocr_vqa', [{'filename': 'q.png', 'questions': ['What year?'], 'answers': ['1954'], 'split': 1}], ['q.png'],
     [(LEAD + PICTURE + asked('What year?'), '1954')]),
    ('dolly', [{'instruction': 'Who leads?', 'context': 'Ann leads Bo.', 'response': 'Ann.', 'category': 'qa'}], [],
     [(f'{LEAD}\n\n### Instruction:\nWho leads?\n\n### Input:\nAnn leads Bo.\n\n### Response:\n', 'Ann.')]),
    ('alpaca', [{'instruction': 'Add.', 'input': '', 'output': 'Done.'}], [], [(LEAD + asked('Add.'), 'Done.')]),
    ('baize', [{'topic': 't', 'input': BAIZE + '\n[|Human|] '}], [],
     [(LEAD + asked('Is salt old?'), 'Older thanus.'), (asked('Who sold it?'), 'Romans.')]),
    ('baize', [{'topic': 't', 'input': BAIZE}], [],  # without the empty turn at the end
     [(LEAD + asked('Is salt old?'), 'Older thanus.'), (asked('Who sold it?'), 'Romans.')]),
    ('baize', [{'topic': 't', 'input': BAIZE + '\n[|Human|] And now?'}], [],  # nobody replied
     [(LEAD + asked('Is salt old?'), 'Older thanus.'), (asked('Who sold it?'), 'Romans.')]),
]  # fmt: skip


VOTES = ['tee', 'cup', 'cup', 'tee', 'cup', 'jug', 'cup', 'mug', 'cup', 'cup']
TIED = ['jug', 'cup', 'cup', 'jug']
DRAWN = [  # source, file, the keys its picture may have, what is asked ({} = one of the requests), its input, answers
    ('minigpt4', {'annotations': [{'image_id': '77', 'caption': 'A pier in fog.'}]}, ['77.jpg'],
     '{}', requests.DESCRIBE, [''], ['A pier in fog.']),
    ('coco_caption', [{'image': 'val2014/C_5.jpg', 'caption': 'A cook waits.'}], ['val2014/C_5.jpg'],
     '{}', requests.DESCRIBE, [''], ['A cook waits.']),
    ('coco_caption', [{'image': 'val2014/C_5.jpg', 'caption': ['One waits.', 'A man sits.']}], ['val2014/C_5.jpg'],
     '{}', requests.DESCRIBE, [''], ['One waits.', 'A man sits.']),
    ('aokvqa', [{'split': 'val', 'image_id': 4407, 'question_id': 'k', 'question': 'What flies?',
                 'choices': ['a hat', 'a kite', 'a bee'], 'correct_choice_idx': 1, 'direct_answers': ['kite'],
                 'rationales': ['Wind lifts it.', 'It has a string.']}], ['val2017/000000004407.jpg'],
     'What flies? {}', requests.EXPLAIN, ['', 'a hat, a kite, a bee'],
     ['The answer is a kite. Because Wind lifts it. It has a string.']),
    ('vqav2', [{'question_id': 3, 'question': 'What is held?', 'answer': VOTES, 'image': 'v/9.jpg', 'dataset': 'vqa'}],
     ['v/9.jpg'], 'What is held?', None, ['', 'tee, cup, jug, mug'], ['cup']),
    ('okvqa', [{'question_id': 3, 'question': 'What is held?', 'answer': TIED, 'image': '9.jpg', 'dataset': 'okvqa'}],
     ['9.jpg'], 'What is held?', None, ['', 'jug, cup'], ['jug']),
    ('vqav2', [{'question_id': 3, 'question': 'Is it on?', 'answer': ['no'] * 10, 'image': '9.jpg'}], ['9.jpg'],
     'Is it on?', None, [''], ['no']),
    ('text_ocr', {'data': [{'question': 'Which brand?', 'image_id': 'f0', 'answers': TIED, 'question_id': 1}]},
     ['f0.jpg'], 'Which brand?', None, ['', 'jug, cup'], ['jug']),
    ('nlvrv1', [{'sentence': 'A box is black.', 'label': 'false', 'identifier': '12-3', 'directory': '7'}],
     [f'train/images/7/train-12-3-{n}.png' for n in range(6)], 'A box is black. {}', requests.IS_IT_TRUE,
     ['', 'true, false'], ['false']),
    ('nlvrv2', [{'images': ['l.png', 'r.png'], 'sentence': 'The Left one leans.', 'label': 'True'}],
     [('l.png', 'r.png'), ('r.png', 'l.png')], 'The Left one leans. {}', requests.IS_IT_TRUE,
     ['', 'True, False'], ['True']),
    ('snlive', [{'Flickr30K_ID': '88', 'sentence1': 'A.', 'sentence2': 'He naps.', 'gold_label': 'neutral'}],
     ['88.jpg'], 'He naps. {}', requests.DOES_IT_FOLLOW, ['', 'entailment, neutral, contradiction'],
     ['neutral']),
]  # fmt: skip
LINES = ('dolly', 'nlvrv1', 'snlive')


def opened(tmp_path, kind, records, pictures):
    path = tmp_path / 'train.json'
    path.write_text('\n'.join(map(json.dumps, records)) if kind in LINES else json.dumps(records))
    (tmp_path / 'pictures').mkdir()
    source = source_from_files(kind, path, tmp_path / 'pictures' if pictures else None)
    assert len(source) == 1
    return source


def check(tokenizer, turns, rounds):
    """Ids and labels of a sample: each round has a beginning and an end of its own, trained are responses and ends."""
    tokens = Prompter(MultiModalGPT(), tokenizer, ImageTransform(8)).encode(turns)
    ids, trained = [], []
    for prompt, response in rounds:
        before = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)['input_ids']]
        whole = tokenizer(prompt + response, add_special_tokens=False)['input_ids']
        row = [tokenizer.bos_token_id, *whole, tokenizer.eos_token_id]
        ids += row
        trained += [IGNORE_INDEX] * len(before) + row[len(before) :]
    assert tokens.input_ids.tolist() == ids
    assert tokens.labels.tolist() == trained


@pytest.mark.parametrize(('kind', 'records', 'pictures', 'rounds'), RECORDS)
def test_text_and_labels_of_a_record(tmp_path, tokenizer, kind, records, pictures, rounds):
    turns = opened(tmp_path, kind, records, pictures)[0].turns
    assert [frame for turn in turns for medium in turn.media for frame in medium.frames] == pictures
    check(tokenizer, turns, rounds)


@pytest.mark.parametrize(('kind', 'records', 'pictures', 'asks', 'wordings', 'inputs', 'answers'), DRAWN)
def test_text_and_labels_of_a_record_that_leaves_a_choice(
    tmp_path, tokenizer, kind, records, pictures, asks, wordings, inputs, answers
):
    """Whatever is drawn, it is one of the published choices; and each of them is drawn in some epoch."""
    source = opened(tmp_path, kind, records, pictures)
    seen = {name: set() for name in ('pictures', 'requests', 'inputs', 'answers')}
    for epoch in range(200):
        question, answer = turns = source.draw(0, np.random.default_rng(epoch)).turns
        (picture,) = (frame for medium in question.media for frame in medium.frames)
        asked = asks.replace('Left', 'Right') if picture == ('r.png', 'l.png') else asks
        before, _, after = asked.partition('{}')
        request = question.text.removeprefix(before).removesuffix(after) if wordings else ''
        assert question.text == asked.format(request)
        for name, value in zip(seen, (picture, request, question.input, answer.text), strict=True):
            seen[name].add(value)
        if epoch % 20 == 0:
            given = f'\n\n### Input:\n{question.input}' if question.input else ''
            prompt = f'{LEAD}{PICTURE}\n\n### Instruction:\n{question.text}{given}\n\n### Response:\n'
            check(tokenizer, turns, [(prompt, answer.text)])
    assert seen['pictures'] == set(pictures)
    assert seen['requests'] <= set(wordings or ('',))
    assert len(seen['requests']) >= len(wordings or [0]) / 2
    assert seen['inputs'] == set(inputs)
    assert seen['answers'] == set(answers)


def test_the_four_forms_of_a_picture_file(tmp_path, make_picture):
    """Flat and wrapped JSON, a Parquet file and a folder of them; one text URL-safe, one unpadded, one a JPEG."""
    data = {f'LA_IMG_{n:012d}': make_picture(n, 11, 'JPEG' if n == 2 else 'PNG') for n in range(4)}
    names = list(data)
    texts = {name: base64.b64encode(value).decode() for name, value in data.items()}
    texts[names[0]] = base64.urlsafe_b64encode(data[names[0]]).decode()
    texts[names[1]] = texts[names[1]].rstrip('=')
    (tmp_path / 'flat.json').write_text(json.dumps(texts))
    (tmp_path / 'wrapped.json').write_text(json.dumps({'base64': texts}))
    (tmp_path / 'folder').mkdir()
    write_parquet_images(tmp_path / 'one.parquet', data.items())
    write_parquet_images(tmp_path / 'folder' / 'part0.parquet', list(data.items())[:3])
    write_parquet_images(tmp_path / 'folder' / 'part1.parquet', list(data.items())[3:])
    for form in ('flat.json', 'wrapped.json', 'one.parquet', 'folder'):
        store = build_image_store(tmp_path / form)
        assert list(store.keys()) == names
        assert [store.read(name) for name in names] == list(data.values())
