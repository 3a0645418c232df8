import json
import pickle
import shutil

import pytest

from mmgpt.data.image_stores import ParquetImages
from mmgpt.data.sources import MimicIt
from mmgpt.structures import Medium, Sample, Turn


@pytest.fixture
def images(mimicit):
    return ParquetImages(mimicit / 'XX.parquet')


def test_a_record_becomes_a_sample(mimicit, images):
    source = MimicIt(mimicit / 'XX_instructions.json', images)
    assert (source.name, len(source)) == ('XX', 16)
    assert source[1] == Sample(
        id='XX_INS_01',
        turns=(
            Turn('user', 'What is digit 1?', (Medium(('XX_IMG_01',)),)),
            Turn('assistant', 'It is the 1 of 16.'),
        ),
        context_ids=('XX_INS_00', 'XX_INS_02', 'XX_INS_03'),
        kind='image',
        source='XX',
    )
    assert source[8].turns[0].media == (Medium(('XX_IMG_00', 'XX_IMG_01')),)  # a pair is one medium
    assert (source[15].kind, source[15].turns[0].media) == ('text', ())
    assert source.find('XX_INS_01') == source[1]
    with pytest.raises(IndexError):
        source[16]


def test_without_images_every_record_is_text(mimicit):
    source = MimicIt(mimicit / 'XX_instructions.json')
    assert all(source[i].kind == 'text' and not source[i].turns[0].media for i in range(len(source)))


def test_videos_are_thinned_as_published(tmp_path, images):
    frames = [f'f{i}' for i in range(40)]
    record = {'instruction': 'q', 'answer': 'a', 'image_ids': frames}
    short = {**record, 'image_ids': frames[:5]}
    (tmp_path / 'DC_instructions.json').write_text(json.dumps({'data': {'long': record, 'short': short}}))
    source = MimicIt(tmp_path / 'DC_instructions.json', images, kind='video', max_frames=16)
    expected = [int(i * 39 / 15) for i in range(16)]  # int(linspace(0, n - 1, N))
    assert source[0].turns[0].media == (Medium(tuple(f'f{i}' for i in expected)),)
    assert source[1].turns[0].media == (Medium(tuple(frames[:5])),)
    assert source[0].kind == 'video'


def test_a_train_file_names_the_samples_and_their_context(mimicit, images, tmp_path):
    (tmp_path / 'XX_train.json').write_text(json.dumps({'XX_INS_09': ['XX_INS_01'], 'XX_INS_03': []}))
    source = MimicIt(mimicit / 'XX_instructions.json', images, train=tmp_path / 'XX_train.json')
    assert [(source[i].id, source[i].context_ids) for i in range(len(source))] == [
        ('XX_INS_09', ('XX_INS_01',)),
        ('XX_INS_03', ()),
    ]
    assert source.find('XX_INS_00').id == 'XX_INS_00'  # context only
    again = pickle.loads(pickle.dumps(source))
    assert again[0] == source[0]


def test_a_train_file_with_a_missing_id(mimicit, tmp_path):
    (tmp_path / 'XX_train.json').write_text('{"XX_INS_01": [],\n"XX_INS_77": []}')
    with pytest.raises(
        ValueError, match=r"XX_train.json: 1 of 2 ids are not in .*, for example 'XX_INS_77' \(line 2\)"
    ):
        MimicIt(mimicit / 'XX_instructions.json', train=tmp_path / 'XX_train.json')


def test_what_a_big_train_file_names_is_found_once(mimicit, tmp_path, monkeypatch, caplog):
    for name in ('instructions', 'train'):
        shutil.copy(mimicit / f'XX_{name}.json', tmp_path)
    plain = MimicIt(tmp_path / 'XX_instructions.json', train=tmp_path / 'XX_train.json')
    monkeypatch.setattr('mmgpt.data.sources.mimicit.is_small', lambda files: False)
    made = [MimicIt(tmp_path / 'XX_instructions.json', train=tmp_path / 'XX_train.json') for _ in range(2)]
    assert caplog.text.count('its training-ids is made once') == 1
    assert len(pickle.dumps(made[1])) < len(pickle.dumps(plain))  # without the places
    for source in (*made, pickle.loads(pickle.dumps(made[1]))):
        assert [source[i] for i in range(len(plain))] == [plain[i] for i in range(len(plain))]
    data = json.loads((tmp_path / 'XX_train.json').read_text())
    (tmp_path / 'XX_train.json').write_text(json.dumps({**data, 'gone': []}))
    with pytest.raises(ValueError, match=r"1 of 17 ids are not in .*'gone'"):
        MimicIt(tmp_path / 'XX_instructions.json', train=tmp_path / 'XX_train.json')


def test_an_unknown_id(mimicit):
    source = MimicIt(mimicit / 'XX_instructions.json')
    with pytest.raises(KeyError, match=r"no instruction 'XX_INS_03x'; did you mean 'XX_INS_03' or 'XX_INS_04'"):
        source.find('XX_INS_03x')


@pytest.mark.parametrize(
    ('record', 'message'),
    [
        ([], 'should be an object, got list'),
        ({'answer': 'a'}, '"instruction" should be a string, got None'),
        ({'instruction': 'q', 'answer': 7}, '"answer" should be a string, got 7'),
        ({'instruction': 'q', 'answer': 'a', 'image_ids': 'f'}, '"image_ids" should be a list of strings'),
        ({'instruction': 'q', 'answer': 'a', 'rel_ins_ids': [1]}, '"rel_ins_ids" should be a list of strings'),
    ],
)
def test_a_record_of_another_form_is_a_fault_with_file_and_id(tmp_path, record, message):
    (tmp_path / 'x.json').write_text(json.dumps({'data': {'x1': record}}))
    with pytest.raises(ValueError, match=f"x.json: 'x1'.*{message}"):
        MimicIt(tmp_path / 'x.json')[0]


def test_arguments_are_checked(mimicit):
    with pytest.raises(ValueError, match="kind must be 'image' or 'video'"):
        MimicIt(mimicit / 'XX_instructions.json', kind='vidoe')
    with pytest.raises(ValueError, match='max_frames'):
        MimicIt(mimicit / 'XX_instructions.json', max_frames=0)
    with pytest.raises(ValueError, match='with the member "data"'):
        MimicIt(mimicit / 'XX_train.json')
