"""Any source as a Hugging Face data set and back; any image store as Parquet."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from PIL import Image

from mmgpt.data.converters import hub, write_dataset
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.image_stores import JsonImages, ParquetImages, VideoFiles
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import ImageTextTars, Messages, MimicIt, Mmc4
from mmgpt.data.sources.table import source_from_files
from mmgpt.structures import Turn
from tests.data import planting
from tests.data.test_fuzzing import LINES, RECORDS
from tools.dataset_converters import images_to_parquet, to_datasets

PICTURES = ['a.png', 'a.jpg', '7.jpg', 'val/a.png', *(f'train/images/3/train-1-2-{i}.png' for i in range(6))]


@pytest.fixture
def source(mimicit):
    return MimicIt(mimicit / 'XX_instructions.json', ParquetImages(mimicit / 'XX.parquet'), kind='video')


def back(folder) -> Messages:
    return Messages(folder / 'data')


def same(one, other, prompter) -> bool:
    """Whether two samples are the same for training: ids, context, kind, pixels."""
    (a, b) = (InstructionDataset([SourceEntry(s)], prompter)[(0, i, 0)] for s, i in (one, other))
    frames = [[[i.frames[key].tolist() for key in m.frames] for m in i.encoded.media] for i in (a, b)]
    texts = [(i.encoded.id, i.encoded.input_ids.tolist(), i.encoded.labels.tolist(), i.encoded.kind) for i in (a, b)]
    return texts[0] == texts[1] and frames[0] == frames[1]


def test_samples_come_back_as_they_were(source, prompter, tmp_path):
    report = write_dataset([source], tmp_path / 'out')
    again = back(tmp_path / 'out')
    assert len(again) == len(source) == report.instructions['out']
    assert all(same((source, i), (again, i), prompter) for i in range(len(source)))
    assert again[1].context_ids == source[1].context_ids
    assert again.find(source[3].id).turns[1] == source[3].turns[1]


def test_turns_of_every_kind_come_back(tmp_path, images_json):
    turns = [
        {'role': 'system', 'content': 'Be brief.'},
        {'role': 'user', 'content': [{'type': 'image', 'image': 'a'}, {'type': 'text', 'text': 'Is it in the list?'}]},
        {'role': 'assistant', 'content': 'No.'},
        {'role': 'user', 'content': [{'type': 'image_set', 'images': ['b', 'a']}, {'type': 'input', 'text': 'A list'}]},
        {'role': 'assistant', 'content': 'Yes.'},
    ]
    record = {'id': 'x', 'messages': turns, 'language': 'de', 'context_ids': ['y']}
    (tmp_path / 'chat.jsonl').write_text(json.dumps(record) + '\n' + json.dumps({**record, 'id': 'y'}))
    source = Messages(tmp_path / 'chat.jsonl', JsonImages(images_json))
    write_dataset([source], tmp_path / 'out')
    sample = back(tmp_path / 'out')[0]
    assert [(t.role, t.text, t.input, [len(m.frames) for m in t.media]) for t in sample.turns] == [
        ('system', 'Be brief.', '', []),
        ('user', 'Is it in the list?', '', [1]),
        ('assistant', 'No.', '', []),
        ('user', '', 'A list', [2]),
        ('assistant', 'Yes.', '', []),
    ]
    assert (sample.language, sample.context_ids, sample.kind) == ('de', ('y',), 'image')
    assert back(tmp_path / 'out').images.read(sample.turns[3].media[0].frames[1]) == source.images.read('a')


def test_the_library_loads_it(source, tmp_path):
    datasets = pytest.importorskip('datasets', reason='pip install "mmgpt[trainers]" brings datasets')
    write_dataset([source], tmp_path / 'out', shard_bytes=3000)
    assert len(list((tmp_path / 'out' / 'data').iterdir())) > 1
    loaded = datasets.load_dataset(str(tmp_path / 'out'), split='train', cache_dir=str(tmp_path / 'cache'))
    assert loaded['id'][:] == [source[i].id for i in range(len(source))]
    assert isinstance(loaded[0]['images'][0], Image.Image)
    assert loaded[0]['messages'][0]['content'][0]['type'] == 'video'
    loaded.save_to_disk(str(tmp_path / 'saved'))
    assert Messages(tmp_path / 'saved')[0].turns[1] == Turn('assistant', source[0].turns[1].text)


def test_a_broken_run_goes_on_and_what_is_broken_is_told(mimicit, tmp_path, monkeypatch):
    records = json.loads((mimicit / 'XX_instructions.json').read_text())
    records['data']['XX_INS_02']['image_ids'] = ['nowhere']
    (tmp_path / 'XX_instructions.json').write_text(json.dumps(records))
    source = MimicIt(tmp_path / 'XX_instructions.json', ParquetImages(mimicit / 'XX.parquet'))
    real, calls = hub._write_shard, []

    def fails_once(*arguments):
        calls.append(arguments[0].name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(hub, '_write_shard', fails_once)
    with pytest.raises(KeyboardInterrupt):
        write_dataset([source], tmp_path / 'out', shard_bytes=2000)
    assert not (tmp_path / 'out').exists()
    report = write_dataset([source], tmp_path / 'out', shard_bytes=2000)
    assert calls.count('00000.parquet') == 1
    assert report.resumed > 0
    assert list(report.faults) == ['XX, sample 2', 'context examples']
    ids = [back(tmp_path / 'out')[i].id for i in range(report.instructions['out'])]
    assert ids == [f'XX_INS_{n:02d}' for n in range(16) if n != 2]
    with pytest.raises(FileExistsError, match='is there already'):
        write_dataset([source], tmp_path / 'out')


def test_a_run_does_not_go_on_with_other_data(mimicit, tmp_path, monkeypatch):
    images = ParquetImages(mimicit / 'XX.parquet')
    (tmp_path / 'YY_instructions.json').write_text((mimicit / 'XX_instructions.json').read_text())
    one, other = (MimicIt(f / f'{n}_instructions.json', images) for f, n in ((mimicit, 'XX'), (tmp_path, 'YY')))
    real = hub._write_shard

    def fails_later(path, *arguments):
        if path.name.startswith('00001'):
            raise KeyboardInterrupt
        return real(path, *arguments)

    monkeypatch.setattr(hub, '_write_shard', fails_later)
    with pytest.raises(KeyboardInterrupt):
        write_dataset([one], tmp_path / 'out', shard_bytes=2000)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r'\.out\.part was begun with .*XX.*, not .*YY.*: delete it to begin anew'):
        write_dataset([other], tmp_path / 'out', shard_bytes=2000)
    each = MimicIt(mimicit / 'XX_instructions.json', images, media='each')
    with pytest.raises(ValueError, match='was begun with'):
        write_dataset([each], tmp_path / 'out', shard_bytes=2000)
    assert write_dataset([one], tmp_path / 'out', shard_bytes=2000).instructions == {'out': 16}
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['data']


def test_context_that_is_no_sample_is_told(mimicit, tmp_path, capsys):
    (tmp_path / 'XX_train.json').write_text(json.dumps({'XX_INS_05': ['XX_INS_00', 'XX_INS_01'], 'XX_INS_06': []}))
    images = str(mimicit / 'XX.parquet')
    entry = dict(
        type='MimicIt',
        instructions=str(mimicit / 'XX_instructions.json'),
        images=images,
        train=str(tmp_path / 'XX_train.json'),
    )
    (tmp_path / 'config.py').write_text(f'train_dataloader = dict(dataset=dict(sources=[{entry!r}]))')
    assert to_datasets.main([str(tmp_path / 'config.py'), '--out', str(tmp_path / 'out')]) == 1
    told = capsys.readouterr().out
    assert "context examples: 2 that samples name, such as 'XX_INS_00', are not among the samples" in told
    assert len(back(tmp_path / 'out')) == 2


def test_context_whose_id_several_sources_have_is_told(mimicit, tmp_path):
    images, text = ParquetImages(mimicit / 'XX.parquet'), (mimicit / 'XX_instructions.json').read_text()
    (tmp_path / 'zh_instructions.json').write_text(text)
    one = MimicIt(mimicit / 'XX_instructions.json', images)
    assert not write_dataset([one, one], tmp_path / 'twice').faults
    other = MimicIt(tmp_path / 'zh_instructions.json', images)
    for name, sources, languages in (('a', [one, other], ()), ('b', [one, one], ('', 'zh'))):
        faults = write_dataset(sources, tmp_path / name, languages=languages).faults
        assert list(faults) == ['ids of several sources']
        assert "that samples name as context, such as 'XX_INS_00', are ids of several sources" in str(faults)


def test_the_tool_takes_a_source_or_a_config(mimicit, tmp_path, capsys):
    ann, images = str(mimicit / 'XX_instructions.json'), str(mimicit / 'XX.parquet')
    named = ['--source', 'mimicit', '--ann', ann, '--images', images]
    assert to_datasets.main([*named, '--out', str(tmp_path / 'a')]) == 0
    assert 'a: 16 records' in capsys.readouterr().out
    entry = dict(type='MimicIt', instructions=ann, images=images, weight=2.0)
    (tmp_path / 'config.py').write_text(f'train_dataloader = dict(dataset=dict(sources=[{entry!r}, {entry!r}]))')
    assert to_datasets.main([str(tmp_path / 'config.py'), '--split', 'test', '--out', str(tmp_path / 'b')]) == 0
    assert [path.name for path in (tmp_path / 'b' / 'data').iterdir()] == ['test-00000-of-00001.parquet']
    assert len(back(tmp_path / 'b')) == 32
    assert to_datasets.main([*named, '--out', str(tmp_path / 'a')]) == 2
    assert 'is there already' in capsys.readouterr().err
    assert to_datasets.main([*named, '--split', 'my/split', '--out', str(tmp_path / 'c')]) == 2
    assert "with dots between; got 'my/split'" in capsys.readouterr().err
    assert not list(tmp_path.glob('.c*'))
    (tmp_path / 'config.py').write_text("model = dict(type='Flamingo')")
    assert to_datasets.main([str(tmp_path / 'config.py'), '--out', str(tmp_path / 'c')]) == 2
    assert 'config.py names no training data: it has no train_dataloader' in capsys.readouterr().err


def test_a_training_data_file_and_languages(mimicit, tmp_path):
    ann, images = str(mimicit / 'XX_instructions.json'), str(mimicit / 'XX.parquet')
    shown = dict(mimicit_path=ann, images_path=images)
    groups = {'VIDEO_TEXT': {'A': {**shown, 'num_samples': 20}}, 'TEXT_ONLY': {'B': dict(mimicit_path=ann)}}
    (tmp_path / 'mix.yaml').write_text(json.dumps(groups))
    assert to_datasets.main([str(tmp_path / 'mix.yaml'), '--out', str(tmp_path / 'a')]) == 1  # A and B share their ids
    again = back(tmp_path / 'a')
    assert len(again) == 20 + 16
    assert [again[i].kind for i in (0, 20)] == ['video', 'text']
    entry = dict(type='TrainingData', path=str(tmp_path / 'mix.yaml'), language='ko')
    (tmp_path / 'config.py').write_text(f'train_dataloader = dict(dataset=dict(sources=[{entry!r}]))')
    assert to_datasets.main([str(tmp_path / 'config.py'), '--out', str(tmp_path / 'b')]) == 1
    assert {back(tmp_path / 'b')[i].language for i in range(36)} == {'ko'}
    assert to_datasets.main([str(tmp_path / 'gone.yaml'), '--out', str(tmp_path / 'c')]) == 2


@pytest.mark.parametrize('kind', sorted(RECORDS))
def test_any_source_can_be_written(kind, tmp_path):
    """The one record of each schema: pixels and texts come back."""
    for number, name in enumerate(PICTURES):
        path = tmp_path / 'pictures' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(planting.picture(number, size=6 + number))
    ending = 'jsonl' if kind in LINES else 'json'
    path = tmp_path / f'train.{ending}'
    path.write_text('\n'.join(map(json.dumps, RECORDS[kind])) if kind in LINES else json.dumps(RECORDS[kind]))
    source = source_from_files(kind, path, tmp_path / 'pictures')
    assert not write_dataset([source], tmp_path / 'out').faults
    again = back(tmp_path / 'out')
    for index in range(len(source)):
        one, other = source[index], again[index]
        assert [(t.role, t.text, t.input) for t in one.turns] == [(t.role, t.text, t.input) for t in other.turns]
        shown = [[s.images.open(frame).tobytes() for t in sample.turns for m in t.media for frame in m.frames]
                 for s, sample in ((source, one), (again, other))]  # fmt: skip
        assert shown[0] == shown[1]


def test_frames_of_video_files_and_pages_of_tars_can_be_written(tmp_path, make_picture):
    pytest.importorskip('av', reason='pip install "mmgpt[video]" brings av')
    from tests.data.test_video import write_video

    write_video(tmp_path / 'clip.mp4', 3)
    data = {'A': {'instruction': 'Who?', 'answer': 'He.', 'image_ids': ['clip.mp4']}}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': data}))
    video = MimicIt(tmp_path / 'XX_instructions.json', VideoFiles(tmp_path, 3), kind='video')
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name, content in (('x.png', make_picture(1)), ('x.txt', b'a caption')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    write_dataset([video, ImageTextTars(tmp_path / 'a.tar')], tmp_path / 'out')
    again = back(tmp_path / 'out')
    frames = [again.images.open(frame).tobytes() for frame in again[0].turns[0].media[0].frames]
    assert frames == [video.images.open(f'clip.mp4#{i}').tobytes() for i in range(3)]
    assert again[1].turns[1].text == 'a caption'
    picture = again.images.open(again[1].turns[0].media[0].frames[0])
    assert picture.tobytes() == Image.open(io.BytesIO(make_picture(1))).convert('RGB').tobytes()


def test_what_the_rules_of_a_set_leave_out_is_no_fault(tmp_path):
    from tests.data.test_fuzzing_containers import PAGE, tar_of

    pages = [PAGE | {'similarity_matrix': [[0.0] * 3] * 2}, [], PAGE]
    files = [(f'{n}.json', json.dumps(page).encode()) for n, page in enumerate(pages)]
    (tmp_path / 'a.tar').write_bytes(tar_of(files))
    report = write_dataset([Mmc4(tmp_path / 'a.tar', min_bytes=0)], tmp_path / 'out')
    assert list(report.faults) == [f'{tmp_path.name}, sample 1']
    assert [sample.id for sample in map(back(tmp_path / 'out').__getitem__, range(1))] == ['a/2']


# ---- pictures


@pytest.fixture
def images_json(tmp_path, make_picture):
    """Base64 as one finds it: with and without padding, of the URL-safe alphabet, in a list, PNG and JPEG."""
    import base64

    data = {'a': make_picture(1), 'b': make_picture(2, format='JPEG'), 'c': make_picture(3)}
    texts = {key: base64.b64encode(value).decode() for key, value in data.items()}
    texts = {'a': texts['a'].rstrip('='), 'b': [texts['b']], 'c': base64.urlsafe_b64encode(data['c']).decode()}
    path = tmp_path / 'XX.json'
    path.write_text(json.dumps(texts))
    return path


def test_json_becomes_parquet_in_parts(images_json, tmp_path):
    out = tmp_path / 'XX.parquet'
    assert images_to_parquet.main([str(images_json), '--out', str(out), '--part-bytes', '1']) == 0
    assert len(list(out.iterdir())) == 3
    before, after = JsonImages(images_json), ParquetImages(out)
    assert list(after.keys()) == ['a', 'b', 'c']
    assert all(after.read(key) == before.read(key) for key in 'abc')


def test_a_folder_becomes_parquet_with_ids(tmp_path, make_picture, capsys):
    (tmp_path / 'coco' / 'train').mkdir(parents=True)
    (tmp_path / 'coco' / 'train' / '0009.full.png').write_bytes(make_picture(1))
    (tmp_path / 'coco' / 'x.jpg').write_bytes(b'broken')
    (tmp_path / 'coco' / 'y.MP4').write_bytes(b'video')
    out = tmp_path / 'LA.parquet'
    arguments = [str(tmp_path / 'coco'), '--out', str(out), '--prefix', 'LA', '--size', '6', '--jpeg', '90']
    assert images_to_parquet.main(arguments) == 1
    told = capsys.readouterr().out
    assert 'x.jpg: is broken: ' in told
    assert 'y.MP4 is a video, of which one picture would be left' in told
    store = ParquetImages(out)
    assert list(store.keys()) == ['LA_IMG_0009']
    assert store.open('LA_IMG_0009').size == (6, 6)
    assert store.read('LA_IMG_0009').startswith(b'\xff\xd8')
