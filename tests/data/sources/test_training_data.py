import json
import random

import numpy as np
import pytest
import yaml

from mmgpt.data.builder import build_dataset
from mmgpt.data.image_stores import write_parquet_images
from mmgpt.data.sources import MimicIt
from mmgpt.data.sources.training_data import read_training_data, resample
from mmgpt.structures import Medium, Turn


@pytest.fixture
def folder(tmp_path, make_picture, monkeypatch):
    """Ten instructions with two pictures each, ten of text, and a video of 40 frames."""
    monkeypatch.chdir(tmp_path)
    write_parquet_images(tmp_path / 'LA.parquet', [(f'LA_IMG_{i}', make_picture(i, 8)) for i in range(40)])
    data = {
        f'LA_INS_{i}': {
            'instruction': f'q{i}',
            'answer': f'a{i}',
            'image_ids': [f'LA_IMG_{i}', f'LA_IMG_{i + 1}'],
            'rel_ins_ids': [f'LA_INS_{(i + 1) % 10}', f'LA_INS_{(i + 2) % 10}'],
        }
        for i in range(10)
    }
    text = {f'TXT_INS_{i}': {'instruction': f'q{i}', 'answer': f'a{i}'} for i in range(10)}
    video = {'DC_INS_0': {'instruction': 'q', 'answer': 'a', 'image_ids': [f'LA_IMG_{i}' for i in range(40)]}}
    for name, value in (('LA', data), ('TXT', text), ('DC', video)):
        (tmp_path / f'{name}_instructions.json').write_text(json.dumps({'meta': {}, 'data': value}))
    (tmp_path / 'LA_train.json').write_text(json.dumps({f'LA_INS_{i}': ['LA_INS_9'] for i in range(5)}))
    return tmp_path


def write(folder, groups):
    (folder / 'data.yaml').write_text(yaml.safe_dump(groups, sort_keys=False))
    return folder / 'data.yaml'


PICTURES = {'mimicit_path': 'LA_instructions.json', 'images_path': 'LA.parquet'}
GROUPS = {
    'IMAGE_TEXT': {'LA': {**PICTURES, 'num_samples': 3, 'task_description': ['Look.', 'Look well.']}},
    'TEXT_ONLY': {'TXT': {'mimicit_path': 'TXT_instructions.json', 'num_samples': 25}},
    'VIDEO_TEXT': {'DC': {'mimicit_path': 'DC_instructions.json', 'images_path': 'LA.parquet', 'num_samples': 0}},
    'IMAGE_TEXT_IN_CONTEXT': {'IC': {**PICTURES, 'train_config_path': 'LA_train.json', 'num_samples': -1}},
}


def test_all_four_groups(folder, prompter):
    dataset = build_dataset({'sources': read_training_data(write(folder, GROUPS))}, prompter)
    named = {entry.source.name: entry for entry in dataset.entries}
    assert {name: entry.quota for name, entry in named.items()} == {'LA': 3, 'TXT': 25, 'DC': 1, 'IC': 5}
    assert {name: entry.marks for name, entry in named.items() if name != 'TXT'} == {
        'LA': 'first',
        'DC': 'first',
        'IC': 'every',
    }
    assert [entry.retriever is None for entry in dataset.entries] == [True, True, True, False]
    assert named['LA'].source.images is named['IC'].source.images
    video = named['DC'].source[0]
    assert video.kind == 'video'
    assert video.turns[0].media == (Medium(tuple(f'LA_IMG_{int(i * 39 / 31)}' for i in range(32))),)
    item = dataset.encode((dataset.entries.index(named['IC']), 2, 0))
    assert item.context_ids == ('LA_INS_9',)
    assert [medium.frames for medium in item.media] == [('LA_IMG_9', 'LA_IMG_10'), ('LA_IMG_2', 'LA_IMG_3')]
    assert not named['LA'].source.task_descriptions


def test_a_config_names_the_file(folder, prompter):
    named = dict(type='TrainingData', path=str(write(folder, GROUPS)), max_frames=8, language='ko', loss_weight=0.5)
    dataset = build_dataset({'sources': [named, dict(type='MimicIt', instructions='TXT_instructions.json')]}, prompter)
    assert [entry.quota for entry in dataset.entries] == [3, 25, 1, 5, 10]
    assert [entry.language for entry in dataset.entries] == ['ko'] * 4 + ['']
    assert len(dataset.encode((2, 0, 0)).media[0].frames) == 8
    assert dataset.encode((0, 0, 0)).weight == 0.5


def test_contexts_and_task_descriptions_are_options(folder, prompter):
    sources = read_training_data(write(folder, GROUPS), related=True, task_descriptions=True, max_frames=16)
    dataset = build_dataset({'sources': sources}, prompter)
    pictures = dataset.entries[0].source
    rng = np.random.default_rng(0)
    drawn = {pictures.draw(0, rng).turns[0] for _ in range(20)}
    assert drawn == {Turn('system', 'Look.'), Turn('system', 'Look well.')}
    assert len(dataset.encode((0, 0, 0)).context_ids) == 2
    assert len(dataset.encode((0, 0, 0)).media) == 1  # the query's pictures, shared by all
    assert len(dataset.entries[2].source[0].turns[0].media[0].frames) == 16
    texts = {prompter.tokenizer.decode(dataset.encode((0, 0, epoch)).input_ids) for epoch in range(9)}
    assert {text.startswith(start) for text in texts for start in ('<s>Look.\n', '<s> Look.\n')} == {True, False}


@pytest.mark.parametrize('wanted', [None, -1, 0, 10])
def test_all_samples(wanted):
    assert list(resample(10, wanted)) == list(range(10))


def test_fewer_and_more_are_drawn_as_published():
    names = [f'id{i}' for i in range(10)]
    random.seed(0)
    fewer = random.sample(names, 3)
    random.seed(0)
    more = names * 2 + random.choices(names, k=5)
    assert [names[i] for i in resample(10, 3)] == fewer
    assert [names[i] for i in resample(10, 25)] == more
    assert [names[i] for i in resample(10, 20)] == names * 2


def test_a_resampled_source_has_so_many_samples(folder):
    source = MimicIt(folder / 'TXT_instructions.json', resample=25)
    assert len(source) == 25
    assert [source[i].id for i in range(20)] == [f'TXT_INS_{i % 10}' for i in range(20)]
    with pytest.raises(IndexError):
        source[25]


def test_all_missing_files_are_named_at_once(folder):
    groups = {'TEXT_ONLY': {'A': {'mimicit_path': 'no.json'}}, 'IMAGE_TEXT': {'B': {**PICTURES, 'images_path': 'x'}}}
    with pytest.raises(FileNotFoundError, match=r'data.yaml names what is not there .*: no.json, x'):
        read_training_data(write(folder, groups))
    with pytest.raises(FileNotFoundError, match='no such training-data file'):
        read_training_data(folder / 'no.yaml')


@pytest.mark.parametrize(
    ('groups', 'message'),
    [
        ({'IMAGE_TEX': {'A': PICTURES}}, "group 'IMAGE_TEX' is not known; did you mean 'IMAGE_TEXT'"),
        ([1], 'expected groups of sets'),
        ({'IMAGE_TEXT': None}, 'IMAGE_TEXT: expected sets by name, got None'),
        ({'IMAGE_TEXT': {'A': 'x'}}, 'IMAGE_TEXT: A: expected mimicit_path'),
        ({'IMAGE_TEXT': {'A': {**PICTURES, 'number_samples': 3}}}, "did you mean 'num_samples'"),
        ({'IMAGE_TEXT': {'A': {**PICTURES, 'num_samples': '3'}}}, "num_samples should be of type int, got '3'"),
        ({'IMAGE_TEXT': {'A': {**PICTURES, 'num_samples': -2}}}, 'num_samples should be -1'),
        ({'IMAGE_TEXT': {'A': {'mimicit_path': 'x'}}}, 'images_path is missing'),
        ({'IMAGE_TEXT': {'A': {'images_path': 'x'}}}, 'mimicit_path is missing'),
        ({'TEXT_ONLY': {'A': PICTURES}}, 'has no images_path'),
        ({'TEXT_ONLY': {'A': {'mimicit_path': 'x', 'task_description': [1]}}}, 'a list of strings'),
    ],
)
def test_another_form_is_a_fault_with_its_place(folder, groups, message):
    with pytest.raises(ValueError, match=message):
        read_training_data(write(folder, groups))


def test_no_yaml(folder):
    (folder / 'data.yaml').write_text('a: [')
    with pytest.raises(ValueError, match='is no YAML file'):
        read_training_data(folder / 'data.yaml')


def test_a_records_language(folder):
    (folder / 'x.json').write_text(json.dumps({'data': {'a': {'instruction': 'q', 'answer': 'a', 'language': 'ko'}}}))
    assert MimicIt(folder / 'x.json')[0].language == 'ko'
