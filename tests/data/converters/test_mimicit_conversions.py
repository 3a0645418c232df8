"""The eight sets of MIMIC-IT, made from small files in the exact formats of their authors."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmgpt.data.converters import Encoder, SpotTheDifference, pictures
from mmgpt.data.image_stores import FolderImages, ParquetImages
from mmgpt.data.incontext import write_features
from mmgpt.data.sources import MimicIt
from tools import verify_dataset
from tools.dataset_converters import mimicit


def save(path: Path, number: int = 0, size: tuple[int, int] = (20, 12)) -> None:
    """A picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (number * 37 % 256, number * 91 % 256, number)).save(path)


def film(path: Path, seconds: int, rate: int = 5) -> None:
    """A video whose red tells the frame's number."""
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]" brings av')
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=rate)
        stream.width = stream.height = 32
        for number in range(seconds * rate):
            frame = np.zeros((32, 32, 3), np.uint8)
            frame[..., 0] = number * 4
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def convert(tmp_path: Path, name: str, *options: object) -> int:
    return mimicit.main([name, *map(str, options), '--out', str(tmp_path / 'out'), '--size', '16'])


def read(tmp_path: Path, name: str, images: str | None = None, **options) -> tuple[list, ParquetImages, dict]:
    """The samples as a source gives them, the store, and the raw records."""
    store = ParquetImages(tmp_path / 'out' / f'{images or name}.parquet')
    path = tmp_path / 'out' / f'{name}_instructions.json'
    source = MimicIt(path, store, **options)
    samples = [source[i] for i in range(len(source))]
    for sample in samples:
        assert all(store.open(key).size == (16, 16) for medium in sample.turns[0].media for key in medium.frames)
        assert all(source.find(id) for id in sample.context_ids)
    return samples, store, json.loads(path.read_text())['data']


def doctor(tmp_path: Path, name: str, tokenizer: Path, images: str | None = None) -> dict:
    out = tmp_path / 'out'
    report = tmp_path / 'report.json'
    named = {
        'source': 'mimicit',
        'ann': out / f'{name}_instructions.json',
        'images': out / f'{images or name}.parquet',
        'template': 'Otter',
        'tokenizer': tokenizer,
        'json': report,
        'jobs': 1,
    }
    verify_dataset.main([text for option, value in named.items() for text in (f'--{option}', str(value))])
    return json.loads(report.read_text())


def test_llava(tmp_path, capsys, llama_tokenizer_dir):
    def record(number: int, rounds: int) -> dict:
        told = [
            ('human', '<image>\nWhat is\non it?'),
            ('gpt', 'Bread.'),
            ('human', 'Is it hot?'),
            ('gpt', 'It is cold.'),
        ]
        talk = [{'from': who, 'value': text} for who, text in told[: 2 * rounds]]
        return {'id': f'{number:012d}', 'image': f'{number:012d}.jpg', 'conversations': talk}

    for number in (9, 25):
        save(tmp_path / 'coco' / f'{number:012d}.jpg', number)
    options = ('--images', tmp_path / 'coco', '--conversations')
    options += (write(tmp_path / 'conv.json', [record(9, 2), record(25, 1), record(30, 1)]), '--reasoning')
    options += (write(tmp_path / 'cr.json', [record(25, 1)]), '--details', write(tmp_path / 'dd.json', [record(9, 1)]))
    assert convert(tmp_path, 'llava', *options) == 1  # a picture is missing, and named
    assert '000000000030.jpg: is missing: ' in capsys.readouterr().out

    samples, store, _ = read(tmp_path, 'LACONV', 'LA')
    assert sorted(store.keys()) == ['LA_IMG_000000000009', 'LA_IMG_000000000025']
    assert [(s.id, s.context_ids) for s in samples] == [
        ('LACONV_INS_000000', ()),
        ('LACONV_INS_000001', ('LACONV_INS_000000',)),
        ('LACONV_INS_000002', ()),
    ]
    assert [turn.text for s in samples[:2] for turn in s.turns] == [
        'What ison it?',
        'Bread.',
        'Is it hot?',
        'It is cold.',
    ]
    assert samples[1].turns[0].media[0].frames == ('LA_IMG_000000000009',)
    assert [[s.id for s in read(tmp_path, name, 'LA')[0]] for name in ('LACR_I2I', 'LACR_T2T', 'LADD')] == [
        ['LACR_I2I_INS_000000'],
        ['LACR_T2T_INS_000000'],
        ['LADD_INS_000000'],
    ]
    assert doctor(tmp_path, 'LACONV', llama_tokenizer_dir, 'LA')['errors'] == 0


def test_spot_the_difference(tmp_path, capsys, llama_tokenizer_dir):
    for name in ('7.png', '7_2.png', '8.png', '8_2.png', '9.png'):
        save(tmp_path / 'pairs' / name, len(name))
    (tmp_path / 'pairs' / '8_2.png').write_bytes(b'\x89PNG\r\n\x1a\nbroken')
    records = [{'img_id': str(n), 'sentences': ['the car is gone', 'a man walks. ']} for n in (7, 8, 9)]
    assert (
        convert(
            tmp_path,
            'spot-the-diff',
            '--images',
            tmp_path / 'pairs',
            '--annotations',
            write(tmp_path / 't.json', records),
        )
        == 1
    )
    told = capsys.readouterr().out
    assert '2 inputs are missing or broken' in told
    assert [text for text in ('8: is broken: ', '9: is missing: ', "'9_2.png'") if text not in told] == []

    (sample,), store, data = read(tmp_path, 'SD')
    assert data['SD_INS_00000']['image_ids'] == ['SD_IMG_00007_1', 'SD_IMG_00007_2'] == list(store.keys())
    assert len(sample.turns[0].media) == 1  # a pair is one medium
    assert sample.turns[1].text == 'The car is gone. A man walks.'
    (line,) = (tmp_path / 'out' / 'SD_annotations.jsonl').read_text().splitlines()
    assert json.loads(line)['annotation'] == 'the car is gone\na man walks.'
    assert doctor(tmp_path, 'SD', llama_tokenizer_dir)['errors'] == 0


def test_general_scene_difference(tmp_path, llama_tokenizer_dir):
    for number in (1, 2, 3):
        save(tmp_path / 'coco' / f'{number:012d}.jpg', number)
    captions = {
        'images': [{'id': n, 'file_name': f'{n:012d}.jpg', 'height': 12} for n in (1, 2, 3)],
        'annotations': [
            {'image_id': n, 'id': n * 10 + k, 'caption': f'scene {n} told {k}'} for n in (1, 2, 3) for k in (0, 1)
        ],
    }
    pairs = {f'{a:012d}': f'{b:012d}' for a, b in ((1, 2), (2, 1), (3, 1))}
    options = (
        '--annotations',
        write(tmp_path / 'captions.json', captions),
        '--pairs',
        write(tmp_path / 'pairs.json', pairs),
    )
    assert convert(tmp_path, 'coco-difference', '--images', tmp_path / 'coco', *options) == 0
    samples, store, data = read(tmp_path, 'CGD')
    assert len(store) == 3  # a picture in several pairs lies there once
    assert data['CGD_INS_000002']['image_ids'] == ['CGD_IMG_000000000003', 'CGD_IMG_000000000001']
    assert samples[0].turns[1].text == 'The first picture: Scene 1 told 0. The second picture: Scene 2 told 0.'
    note = json.loads((tmp_path / 'out' / 'CGD_annotations.jsonl').read_text().splitlines()[0])
    assert note['annotation'].splitlines()[-1] == 'Second picture: Scene 2 told 1.'
    assert doctor(tmp_path, 'CGD', llama_tokenizer_dir)['errors'] == 0


def test_general_scene_difference_by_features(tmp_path, capsys):
    features = {1: (1, 0.2, 0), 2: (0, 1, 0.3), 3: (1, 0, 0), 4: (1, 0.1, 0), 5: (0, 0.9, 0.3)}
    captions = {
        'images': [{'id': n, 'file_name': f'{n:012d}.jpg'} for n in (1, 2, 3, 5, 6)],
        'annotations': [{'image_id': n, 'caption': f'scene {n}'} for n in (1, 2, 3, 5, 6)],
    }
    for number in features:
        save(tmp_path / 'coco' / f'{number:012d}.jpg', number)
    write_features(
        tmp_path / 'features', (([f'{n:012d}.jpg'], np.array([row], np.float32)) for n, row in features.items())
    )
    options = ('--images', tmp_path / 'coco', '--annotations', write(tmp_path / 'captions.json', captions))
    assert convert(tmp_path, 'coco-difference', *options, '--features', tmp_path / 'features') == 0
    _, _, data = read(tmp_path, 'CGD')
    shown = [[id[-1] for id in record['image_ids']] for record in data.values()]
    assert shown == [['1', '3'], ['2', '5']]  # 4 has no captions, 6 no features
    assert convert(tmp_path, 'coco-difference', *options) == 2
    assert 'either the pairs or the features' in capsys.readouterr().err
    captions['images'], captions['annotations'] = captions['images'][-1:], captions['annotations'][-1:]
    write(tmp_path / 'captions.json', captions)
    assert convert(tmp_path, 'coco-difference', *options, '--features', tmp_path / 'features') == 2
    assert 'no features of two different pictures' in capsys.readouterr().err


def test_indoor_scenes(tmp_path, llama_tokenizer_dir):
    for number in (0, 20, 100, 300, 1000):
        save(tmp_path / 'scans' / 'scene0000_00' / 'color' / f'{number}.jpg', number // 4)
    told = [('0', 'coffee_table', 'it is by the door'), ('4', 'bed', 'the bed is white.')]
    records = [
        {'scene_id': 'scene0000_00', 'object_id': o, 'object_name': n, 'ann_id': '0', 'description': d, 'token': []}
        for o, n, d in told
    ]
    options = (
        '--scans',
        tmp_path / 'scans',
        '--annotations',
        write(tmp_path / 'ScanRefer.json', records),
        '--views',
        2,
    )
    assert convert(tmp_path, 'scannet', *options) == 0
    samples, store, _ = read(tmp_path, 'SN')
    assert list(store.keys()) == ['SN_IMG_scene0000_00_color_000000', 'SN_IMG_scene0000_00_color_000100']
    assert [turn.text for turn in samples[0].turns] == ['Where in this room is the coffee table?', 'It is by the door.']
    assert [s.context_ids for s in samples] == [('SN_INS_00001',), ('SN_INS_00000',)]  # the others of the scene
    assert doctor(tmp_path, 'SN', llama_tokenizer_dir)['errors'] == 0


def test_stories(tmp_path, capsys, llama_tokenizer_dir):
    for name in ('11.jpg', '12.png', '13.jpg'):
        save(tmp_path / 'photos' / name, int(name[:2]))

    def line(story: int, order: int, photo: int) -> list[dict]:
        entry = {'story_id': str(story), 'album_id': '7', 'photo_flickr_id': str(photo), 'tier': 'story-in-sequence'}
        return [
            {
                **entry,
                'worker_arranged_photo_order': order,
                'original_text': f'Photo {photo} of story {story}.',
                'text': '',
            }
        ]

    lines = [line(1, 1, 12), line(1, 0, 11), line(2, 0, 11), line(2, 1, 13), line(3, 0, 14)]
    path = write(tmp_path / 'train.story-in-sequence.json', {'images': [], 'albums': [], 'annotations': lines})
    assert convert(tmp_path, 'vist', '--images', tmp_path / 'photos', '--annotations', path) == 1
    told = capsys.readouterr().out
    assert '14: is missing' in told
    assert 'album 7: 1 of 3 stories lack a photo' in told
    samples, _, data = read(tmp_path, 'VST')
    assert data['VST_INS_00000']['image_ids'] == ['VST_IMG_11', 'VST_IMG_12']  # in the story's order
    assert samples[0].turns[1].text == 'Photo 11 of story 1. Photo 12 of story 1.'
    assert samples[0].context_ids == ('VST_INS_00001',)  # another story of the album
    assert doctor(tmp_path, 'VST', llama_tokenizer_dir)['errors'] == 0


def test_dense_captions(tmp_path, capsys, llama_tokenizer_dir):
    film(tmp_path / 'videos' / 'v_abc.mp4', seconds=6)
    write(tmp_path / 'videos' / 'v_bad.mkv', 'no video')
    events = {'duration': 6.2, 'timestamps': [[0.4, 3], [2, 6.2]], 'sentences': [' A man runs.', ' He falls']}
    captions = {'v_abc': events, 'v_bad': events, 'v_gone': events}
    options = ('--videos', tmp_path / 'videos', '--annotations', write(tmp_path / 'train.json', captions))
    assert convert(tmp_path, 'activitynet', *options) == 1
    told = capsys.readouterr().out
    assert 'v_bad: is broken: ' in told
    assert 'v_gone: is missing: ' in told
    samples, store, _ = read(tmp_path, 'DC', kind='video', max_frames=4)
    assert list(store.keys()) == [f'DC_IMG_v_abc_{second:04d}' for second in range(6)]  # one a second
    reds = [np.asarray(store.open(f'DC_IMG_v_abc_{second:04d}'))[..., 0].mean() for second in range(6)]
    assert np.allclose(reds, [20 * second for second in range(6)], atol=8)  # frames 0, 5, 10, ...
    assert [s.turns[1].text for s in samples] == ['A man runs. He falls.', 'A man runs.', 'He falls.']
    assert samples[2].turns[0].text == 'What happens from second 2 to second 6 of these 6 seconds?'
    assert samples[1].context_ids == ('DC_INS_00000', 'DC_INS_00002')
    assert samples[0].turns[0].media[0].frames == tuple(f'DC_IMG_v_abc_{second:04d}' for second in (0, 1, 3, 5))
    assert doctor(tmp_path, 'DC', llama_tokenizer_dir)['errors'] == 0


def test_tv_captions(tmp_path, llama_tokenizer_dir):
    for number in range(1, 36):
        save(tmp_path / 'frames' / 'bbt_frames' / 's01e01_seg02_clip_00' / f'{number:05d}.jpg', number)
        save(tmp_path / 'frames' / 'house_frames' / 'house_s01e01_seg02_clip_03' / f'{number:05d}.jpg', number)
    line = {'duration': 60.0, 'ts': [16.4, 33.9], 'clip_id': 1, 'descs': [{'desc': 'A talks.'}, {'desc': 'B listens'}]}
    lines = [{**line, 'vid_name': name} for name in ('s01e01_seg02_clip_00', 'house_s01e01_seg02_clip_03')]
    path = write(tmp_path / 'tvc.jsonl', '\n'.join(map(json.dumps, lines)))
    assert convert(tmp_path, 'tvc', '--frames', tmp_path / 'frames', '--annotations', path) == 0
    samples, store, data = read(tmp_path, 'TVC', kind='video')
    frames = [f'TVC_IMG_bbt_s01e01_seg02_clip_00_{number:05d}' for number in range(2, 36, 2)]  # stride 35 // 16
    assert data['TVC_INS_00000']['image_ids'] == frames
    assert len(frames) == 17
    assert 'TVC_IMG_house_s01e01_seg02_clip_03_00002' in store
    assert [s.turns[1].text for s in samples] == ['A talks.', 'B listens.'] * 2
    assert [s.context_ids for s in samples[:2]] == [('TVC_INS_00001',), ('TVC_INS_00000',)]
    assert doctor(tmp_path, 'TVC', llama_tokenizer_dir)['errors'] == 0


def test_ego4d(tmp_path, llama_tokenizer_dir):
    uid = '000a3525-6c98-4650-aaab-be7d2c7b9402'
    film(tmp_path / 'videos' / f'{uid}.mp4', seconds=7)

    def narrated(*lines: tuple[float, str]) -> dict:
        told = [
            {'timestamp_sec': s, 'timestamp_frame': 0, 'narration_text': t, 'annotation_uid': 'x'} for s, t in lines
        ]
        return {'narrations': told, 'summaries': []}

    first = narrated((4.2, '#C C puts down #unsure'), (0.5, '#C C opens a door'), (1.5, '#O A man waves'))
    videos = {uid: {'narration_pass_1': first, 'narration_pass_2': narrated((1.0, '#C C walks')), 'status': 'complete'}}
    options = ('--annotations', write(tmp_path / 'narration.json', {'videos': videos}), '--seconds', 4)
    assert convert(tmp_path, 'ego4d', '--videos', tmp_path / 'videos', *options) == 0
    samples, _, data = read(tmp_path, 'E4D', kind='video')
    assert [s.turns[1].text for s in samples] == [
        'The camera wearer opens a door. A man waves.',
        'The camera wearer walks.',
        'The camera wearer puts down something.',
    ]
    assert data['E4D_INS_0000000']['image_ids'] == [f'E4D_IMG_{uid}_{second:08d}' for second in range(4)]
    assert data['E4D_INS_0000002']['image_ids'] == [f'E4D_IMG_{uid}_{second:08d}' for second in range(4, 7)]
    assert [s.context_ids for s in samples] == [('E4D_INS_0000001',), ('E4D_INS_0000000',), ()]
    notes = [json.loads(line) for line in (tmp_path / 'out' / 'E4D_annotations.jsonl').read_text().splitlines()]
    assert [note['id'] for note in notes] == [f'{uid}_clip000000', f'{uid}_clip000001']
    assert doctor(tmp_path, 'E4D', llama_tokenizer_dir)['errors'] == 0


# ---- what is written, and what is not


@pytest.fixture
def pairs(tmp_path):
    """The arguments for three pairs."""
    for number in (1, 2, 3):
        save(tmp_path / 'pairs' / f'{number}.png', number)
        save(tmp_path / 'pairs' / f'{number}_2.png', number + 100)
    records = [{'img_id': str(n), 'sentences': ['it moved']} for n in (1, 2, 3)]
    return ('--images', tmp_path / 'pairs', '--annotations', write(tmp_path / 'train.json', records))


def test_a_broken_run_goes_on_where_it_stopped(tmp_path, pairs, monkeypatch):
    out, real, calls = tmp_path / 'out', pictures.write_parquet_images, []

    def fails_at_the_third(path, images):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(path, images)

    def run(size: int = 16):
        conversion = SpotTheDifference(FolderImages(pairs[1]), pairs[3], Encoder(size))
        return conversion.run(out, part_bytes=1)  # a file for each pair

    monkeypatch.setattr(pictures, 'write_parquet_images', fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert [path.name for path in out.iterdir()] == ['.SD.parquet.parts']  # nothing that looks whole
    with pytest.raises(ValueError, match='delete it to begin anew'):
        run(size=32)
    assert str(run()).startswith('6 pictures, 2 inputs from before')
    assert len(calls) == 4  # the two whole files were kept
    assert sorted(path.name for path in out.iterdir()) == ['SD.parquet', 'SD_annotations.jsonl', 'SD_instructions.json']
    assert sorted(path.name for path in (out / 'SD.parquet').iterdir()) == [f'part-0000{n}.parquet' for n in range(3)]
    assert len(read(tmp_path, 'SD')[1]) == 6


def test_what_is_there_is_not_written_over(tmp_path, pairs, capsys):
    assert convert(tmp_path, 'spot-the-diff', *pairs) == 0
    assert convert(tmp_path, 'spot-the-diff', *pairs) == 2
    assert 'SD.parquet is there already' in capsys.readouterr().err


def test_pictures_can_stay_as_they_are(tmp_path, pairs):
    arguments = ['spot-the-diff', *map(str, pairs), '--out', str(tmp_path / 'out'), '--size', '0']
    assert mimicit.main(arguments) == 0
    store = ParquetImages(tmp_path / 'out' / 'SD.parquet')
    assert store.read('SD_IMG_00001_2') == (tmp_path / 'pairs' / '1_2.png').read_bytes()


def test_a_published_picture_is_a_png_of_224_pixels(tmp_path, pairs):
    assert mimicit.main(['spot-the-diff', *map(str, pairs), '--out', str(tmp_path / 'out')]) == 0
    data = ParquetImages(tmp_path / 'out' / 'SD.parquet').read('SD_IMG_00001_1')
    picture = Image.open(io.BytesIO(data))
    assert (picture.format, picture.size, picture.mode) == ('PNG', (224, 224), 'RGB')


@pytest.mark.parametrize(
    ('text', 'told'),
    [('{', 'is no JSON'), ('{}', 'expected a list of'), ('[{"img_id": 1}]', '"sentences" should be')],
)
def test_annotations_of_another_form_are_refused(tmp_path, pairs, capsys, text, told):
    write(tmp_path / 'train.json', text)
    assert convert(tmp_path, 'spot-the-diff', *pairs) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('captions', 'pairs', 'told'),
    [
        ({'images': [{'file_name': 'a.jpg'}], 'annotations': []}, {}, '"id" should be'),
        ({'images': [], 'annotations': [{'image_id': 7, 'caption': 'x'}]}, {}, 'a caption is of the image 7, which'),
        ({'images': [], 'annotations': []}, {'a': None}, "pairs.json: 'a' should be paired with the name of a picture"),
    ],
)
def test_captions_and_pairs_of_another_form_are_refused(tmp_path, capsys, captions, pairs, told):
    save(tmp_path / 'coco' / 'a.jpg')
    annotations, pairs = write(tmp_path / 'captions.json', captions), write(tmp_path / 'pairs.json', pairs)
    options = ('--images', tmp_path / 'coco', '--annotations', annotations, '--pairs', pairs)
    assert convert(tmp_path, 'coco-difference', *options) == 2
    assert told in capsys.readouterr().err


def test_a_pair_without_a_caption_is_left_out(tmp_path, capsys):
    files = {1: 'a.jpg', 2: 'b.jpg', 3: 'c.jpg'}
    for number, name in files.items():
        save(tmp_path / 'coco' / name, number)
    captions = {
        'images': [{'id': number, 'file_name': name} for number, name in files.items()],
        'annotations': [{'image_id': number, 'caption': 'a cat'} for number in (1, 2)],
    }
    options = ('--annotations', write(tmp_path / 'c.json', captions), '--pairs')
    pairs = write(tmp_path / 'p.json', {'a': 'b', 'b': 'c'})
    assert convert(tmp_path, 'coco-difference', '--images', tmp_path / 'coco', *options, pairs) == 1
    assert 'c: is broken: it is in the pairs, and has no caption' in capsys.readouterr().out
    assert len(read(tmp_path, 'CGD')[0]) == 1


def test_sentences_that_are_no_texts_are_refused(tmp_path, pairs, capsys):
    write(tmp_path / 'train.json', '[{"img_id": "a", "sentences": [null]}]')
    assert convert(tmp_path, 'spot-the-diff', *pairs) == 2
    assert 'train.json: \'a\': "sentences" should be texts, got [None]' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'told'),
    [
        ({'timestamps': [[0, 1]]}, 'has 1 timestamps for 2 sentences'),
        ({'timestamps': [None, [0, 1]]}, 'an entry of "timestamps" should be [start, end] in seconds, got None'),
        ({'sentences': [None, 'b']}, '"sentences" should be texts'),
    ],
)
def test_dense_captions_of_another_form_are_refused(tmp_path, capsys, change, told):
    film(tmp_path / 'videos' / 'v_1.mp4', 1)
    entry = {'duration': 1.0, 'timestamps': [[0, 1], [0, 1]], 'sentences': ['a', 'b'], **change}
    options = ('--videos', tmp_path / 'videos', '--annotations', write(tmp_path / 'train.json', {'v_1': entry}))
    assert convert(tmp_path, 'activitynet', *options) == 2
    assert f"train.json: 'v_1': {told}" in capsys.readouterr().err


def test_lines_of_tv_captions(tmp_path, capsys):
    save(tmp_path / 'frames' / 'bbt_frames' / 's01e01_seg02_clip_00' / '00001.jpg')
    line = {'vid_name': 's01e01_seg02_clip_00', 'duration': 6.0, 'ts': [1.0, 2.0]}
    line['descs'] = [{'desc': 'He sits\u2028down.'}]
    path = tmp_path / 'tvc.jsonl'
    path.write_text(json.dumps(line | {'ts': [1.0]}), encoding='utf-8')
    options = ('--frames', tmp_path / 'frames', '--annotations', path)
    assert convert(tmp_path, 'tvc', *options) == 2
    assert 'tvc.jsonl, line 1: "ts" should be [start, end] in seconds, got [1.0]' in capsys.readouterr().err
    path.write_text(json.dumps(line, ensure_ascii=False) + '\n', encoding='utf-8')  # a break within a text ends no line
    assert convert(tmp_path, 'tvc', *options) == 0
    assert read(tmp_path, 'TVC')[0][0].turns[1].text == 'He sits down.'
