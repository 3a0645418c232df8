"""A made-up record of each schema, and by hand what is to be read and what is to be trained."""

import base64
import json

import pytest

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import write_parquet_images
from mmgpt.data.prompter import Prompter
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


@pytest.mark.parametrize(('kind', 'records', 'pictures', 'rounds'), RECORDS)
def test_text_and_labels_of_a_record(tmp_path, tokenizer, kind, records, pictures, rounds):
    path = tmp_path / 'train.json'
    path.write_text('\n'.join(map(json.dumps, records)) if kind == 'dolly' else json.dumps(records))
    (tmp_path / 'pictures').mkdir()
    source = source_from_files(kind, path, tmp_path / 'pictures' if pictures else None)
    assert len(source) == 1
    turns = source[0].turns
    assert [frame for turn in turns for medium in turn.media for frame in medium.frames] == pictures

    tokens = Prompter(MultiModalGPT(), tokenizer, ImageTransform(8)).encode(turns)
    ids, trained = [], []
    for prompt, response in rounds:  # each round has a beginning and an end of its own
        before = [tokenizer.bos_token_id, *tokenizer(prompt, add_special_tokens=False)['input_ids']]
        whole = tokenizer(prompt + response, add_special_tokens=False)['input_ids']
        row = [tokenizer.bos_token_id, *whole, tokenizer.eos_token_id]
        ids += row
        trained += [IGNORE_INDEX] * len(before) + row[len(before) :]
    assert tokens.input_ids.tolist() == ids
    assert tokens.labels.tolist() == trained


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
