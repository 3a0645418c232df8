"""The record schemas of the published sets with pictures: what is asked, what is answered, which picture."""

import json
import pickle
import random
from collections import Counter

import numpy as np
import pytest

from mmgpt.data.builder import build_dataset
from mmgpt.data.sources import AOkVqa, CocoCaption, OcrVqa, Vqa
from mmgpt.data.sources.requests import DESCRIBE, EXPLAIN
from mmgpt.data.sources.table import source_config, source_from_files
from mmgpt.structures import Medium

KITE = {
    'split': 'train',
    'image_id': 299207,
    'question_id': 'q1',
    'question': 'What is he holding?',
    'choices': ['bat', 'cup', 'rope', 'kite'],
    'correct_choice_idx': 2,
    'direct_answers': ['kite', 'rope'],
    'rationales': ['A line goes up.', 'It is windy.'],
}
BOOK = {'questions': ['Who wrote this?', 'What is its genre?'], 'answers': ['A. Writer', 'Travel'], 'split': 1}
VQA = {'question_id': 42, 'question': 'What is it?', 'answer': ['cat', 'dog', 'dog', 'cat', 'cow'], 'image': 'v/1.jpg'}
CLEVR = {'question': 'How many cubes?', 'answer': '3', 'split': 'val', 'image_filename': 'CLEVR_val_000007.png'}
GQA = {'question': 'Is it red?', 'answer': 'no', 'fullAnswer': 'No, it is blue.', 'imageId': '2354786'}


def source(folder, name, value, file='ann.json', **arguments):
    path = folder / file
    path.write_text('\n'.join(map(json.dumps, value)) if path.suffix == '.jsonl' else json.dumps(value))
    (folder / 'images').mkdir(exist_ok=True)
    return source_from_files(name, path, folder / 'images', **arguments)


def seen(one, index=0, times=200):
    """What is asked, given and answered, and how often; the picture; the id."""
    samples = [one.draw(index, np.random.default_rng(number)) for number in range(times)]
    assert {sample.kind for sample in samples} == {'image'}
    assert all(len(sample.turns) == 2 for sample in samples)
    media = {sample.turns[0].media for sample in samples}
    assert len(media) == 1
    counts = [Counter(text) for text in zip(*((s.turns[0].text, s.turns[0].input, s.turns[1].text) for s in samples))]
    assert one[index] in samples or one[index].turns[1].text in counts[2]
    return (*counts, media.pop()[0], samples[0].id)


@pytest.mark.parametrize('image', [None, 'train2017/000000299207.jpg'])
def test_aokvqa(tmp_path, image):
    record = KITE if image is None else {**KITE, 'image': image}
    asked, given, answered, medium, id = seen(source(tmp_path, 'aokvqa', [record]))
    assert set(asked) == {f'What is he holding? {request}' for request in EXPLAIN}
    assert len(EXPLAIN) == 7
    assert set(given) == {'', 'bat, cup, rope, kite'}
    assert 70 < given[''] < 130
    assert set(answered) == {'The answer is rope. Because A line goes up. It is windy.'}
    assert (medium, id) == (Medium(('train2017/000000299207.jpg',)), 'q1')


@pytest.mark.parametrize(('options', 'shown'), [(0.0, {''}), (1.0, {'bat, cup, rope, kite'})])
def test_how_often_the_options_are_shown(tmp_path, options, shown):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps([KITE]))
    assert set(seen(AOkVqa(path, options=options))[1]) == shown


def test_minigpt4(tmp_path):
    value = {'annotations': [{'image_id': '2', 'caption': 'A pier.'}, {'image_id': 3, 'caption': 'A lake.'}]}
    one = source(tmp_path, 'minigpt4', value)
    asked, given, answered, medium, id = seen(one, times=600)
    assert set(asked) == set(DESCRIBE)
    assert (set(given), set(answered), medium, id) == ({''}, {'A pier.'}, Medium(('2.jpg',)), '2')
    assert one[1].turns[0].media == (Medium(('3.jpg',)),)
    assert one.find('3') == one[1]


def test_coco_caption(tmp_path):
    records = [{'image': 'val2014/COCO_val2014_000000522418.jpg', 'caption': ['A cook.', 'A cake.', 'A knife.']}]
    one = source(tmp_path, 'coco_caption', [*records, {'image': 'b.jpg', 'caption': 'One.'}])
    asked, _, answered, medium, id = seen(one, times=600)
    assert set(asked) == set(DESCRIBE)
    assert set(answered) == {'A cook.', 'A cake.', 'A knife.'}
    assert min(answered.values()) > 150
    assert (medium, id) == (Medium(('val2014/COCO_val2014_000000522418.jpg',)), 'ann_0')
    assert one[1].turns[1].text == 'One.'


def test_karpathys_own_file(tmp_path):
    parts = ['train', 'restval', 'test', 'val']
    images = [
        {
            'filepath': 'val2014',
            'filename': f'{i}.jpg',
            'split': part,
            'sentences': [{'raw': 'A dog.'}, {'raw': 'A cat.'}],
        }
        for i, part in enumerate(parts)
    ]
    del images[1]['filepath']  # as Flickr30k's
    path = tmp_path / 'dataset_coco.json'
    path.write_text(json.dumps({'dataset': 'coco', 'images': images}))
    one = CocoCaption(path, splits=['train', 'restval'])
    assert [sample.turns[0].media for sample in one] == [(Medium(('val2014/0.jpg',)),), (Medium(('1.jpg',)),)]
    assert set(seen(one)[2]) == {'A dog.', 'A cat.'}
    with pytest.raises(ValueError, match=r'\"split\" should be one of those that are asked for: give splits='):
        CocoCaption(path)[0]
    with pytest.raises(ValueError, match='splits must be a list'):
        CocoCaption(path, splits='train')


def test_ocr_vqa_as_a_list(tmp_path):
    asked, _, answered, medium, id = seen(source(tmp_path, 'ocr_vqa', [{'filename': '01.jpg', **BOOK}]))
    assert set(asked) == {'Who wrote this?', 'What is its genre?'}
    assert asked['Who wrote this?'] == answered['A. Writer']
    assert (medium, id) == (Medium(('01.jpg',)), '01.jpg')


@pytest.mark.parametrize(('url', 'image'), [('http://a.b/x/y.gif?s=1', 'B01.gif'), ('http://a.b/y', 'B01.jpg')])
def test_ocr_vqa_by_asin(tmp_path, url, image):
    value = {'B01': {'imageURL': url, 'title': 't', 'authorName': 'A. Writer', 'genre': 'Travel', **BOOK}}
    one = source(tmp_path, 'ocr_vqa', value)
    assert seen(one)[3:] == (Medium((image,)), 'B01')
    assert one.find('B01').turns[1].text in BOOK['answers']


def test_ocr_vqa_by_split(tmp_path):
    path = tmp_path / 'ann.json'
    path.write_text(json.dumps({f'B{i}': {'imageURL': 'u.jpg', **BOOK, 'split': 1 + i % 3} for i in range(30)}))
    assert [sample.id for sample in OcrVqa(path, split=2)] == [f'B{i}' for i in range(1, 30, 3)]
    few = [sample.id for sample in OcrVqa(path, split=2, sample=4)]
    assert len(set(few)) == 4
    assert all(int(id[1:]) % 3 == 1 for id in few)
    assert pickle.loads(pickle.dumps(OcrVqa(path, split=2, sample=4)))[0].id == few[0]
    with pytest.raises(ValueError, match='split must be 1'):
        OcrVqa(path, split=4)


@pytest.mark.parametrize('name', ['vqa', 'vqav2', 'okvqa'])
def test_vqa_takes_the_most_frequent_answer_and_of_several_the_first(tmp_path, name):
    one = source(tmp_path, name, [VQA, {**VQA, 'question_id': 43, 'answer': ['cow'] * 10}])
    asked, given, answered, medium, id = seen(one)
    assert set(asked) == {'What is it?'}
    assert set(given) == {'', 'cat, dog, cow'}
    assert set(answered) == {'cat'}
    assert (medium, id) == (Medium(('v/1.jpg',)), '42')
    assert set(seen(one, 1)[1]) == {''}  # one answer alone is no option


@pytest.mark.parametrize('name', ['text_ocr', 'textvqa'])
def test_textvqa(tmp_path, name):
    record = {'question': 'What brand?', 'image_id': 'a0f', 'question_id': 7, 'answers': ['x', 'y', 'y']}
    asked, given, answered, medium, id = seen(source(tmp_path, name, {'info': {}, 'data': [record]}))
    assert (set(asked), set(given), set(answered)) == ({'What brand?'}, {'', 'x, y'}, {'y'})
    assert (medium, id) == (Medium(('a0f.jpg',)), '7')


def test_gqa(tmp_path):
    asked, given, answered, medium, id = seen(source(tmp_path, 'gqa', {'0715': GQA}))
    assert (set(asked), set(given), set(answered)) == ({'Is it red?'}, {''}, {'No, it is blue.'})
    assert (medium, id) == (Medium(('2354786.jpg',)), '0715')


def test_clevr(tmp_path):
    asked, given, answered, medium, id = seen(source(tmp_path, 'clevr', {'info': {}, 'questions': [CLEVR]}))
    assert (set(asked), set(given), set(answered)) == ({'How many cubes?'}, {''}, {'3'})
    assert (medium, id) == (Medium(('val/CLEVR_val_000007.png',)), 'ann_0')


@pytest.mark.parametrize(
    ('name', 'value', 'message'),
    [
        ('aokvqa', [{**KITE, 'correct_choice_idx': 4}], '"correct_choice_idx" should be a whole number from 0 to 3'),
        ('aokvqa', [{**KITE, 'choices': []}], '"choices" should be a list of at least 1 strings'),
        ('aokvqa', [{**KITE, 'rationales': 'It is windy.'}], '"rationales" should be a list of strings'),
        ('aokvqa', [{**KITE, 'image_id': '299207'}], '"image_id" should be a whole number'),
        ('minigpt4', {'annotations': [{'caption': 'a'}]}, '"image_id" should be a string or a whole number, got no'),
        ('minigpt4', {'annotation': []}, r'an object with the list "annotations", got one with'),
        ('coco_caption', [{'image': 'a.jpg', 'caption': []}], '"caption" should be a list of at least 1 strings'),
        ('coco_caption', [{'image': 'a.jpg', 'caption': 3}], '"caption" should be a string, got 3'),
        ('ocr_vqa', [{'filename': 'a', **BOOK, 'answers': ['x']}], '"answers" should be as many as the 2 questions'),
        ('ocr_vqa', {'B01': {'imageURL': None, **BOOK}}, r"ann.json, line 1: 'B01': \"imageURL\" should be a string"),
        ('vqav2', [{**VQA, 'answer': 'cat'}], '"answer" should be a list of at least 1 strings, got \'cat\''),
        ('text_ocr', {'data': [{'question': 'q', 'image_id': 'a'}]}, '"answers" should be a list'),
        ('gqa', {'1': {**GQA, 'fullAnswer': None}}, '"fullAnswer" should be a string, got None'),
        ('clevr', {'questions': [{**CLEVR, 'answer': True}]}, '"answer" should be a string, got True'),
    ],
)
def test_a_record_of_another_form_is_a_fault_with_file_and_place(tmp_path, name, value, message):
    with pytest.raises(ValueError, match=message):
        source(tmp_path, name, value)[0]


def test_choices_depend_on_seed_epoch_and_index_alone(tmp_path, prompter, make_picture):
    records = [{'image': 'b.jpg', 'caption': [f'caption {n} of {i}' for n in range(9)]} for i in range(3)]
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/b.jpg').write_bytes(make_picture(0))
    (tmp_path / 'ann.json').write_text(json.dumps(records))
    config = {'sources': [source_config('coco_caption', tmp_path / 'ann.json', tmp_path / 'images')]}

    def rows(seed=0, epoch=0):
        dataset = build_dataset(config, prompter, seed)
        return [dataset.encode((0, index, epoch)).input_ids.tolist() for index in range(3)]

    before = random.getstate(), np.random.get_state()[1].tolist()
    first = rows()
    random.seed(1), np.random.seed(1)
    assert rows() == first
    assert rows(epoch=1) != first
    assert rows(seed=1) != first
    random.setstate(before[0])
    dataset = build_dataset(config, prompter)
    assert dataset.encode((0, 2, 0)).input_ids.tolist() == first[2]  # whatever was read before


def test_names_and_shares_are_checked(tmp_path):
    with pytest.raises(KeyError, match="no data set named 'aokvq'; did you mean 'aokvqa'"):
        source_from_files('aokvq', tmp_path / 'x.json')
    (tmp_path / 'a.json').write_text('[]')
    with pytest.raises(ValueError, match='options must be a fraction'):
        Vqa(tmp_path / 'a.json', options=2)
    with pytest.raises(ValueError, match='sample must be at least 1'):
        Vqa(tmp_path / 'a.json', sample=0)
    with pytest.raises(ValueError, match='at least one file'):
        Vqa([])
