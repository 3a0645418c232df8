"""Sets that lie elsewhere: served by a real server that counts what it gives."""

import json
import os
import pickle
from collections import Counter

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgpt.data import remote_files
from mmgpt.data.bounded_cache import BoundedCache
from mmgpt.data.builder import build_dataloader, build_dataset
from mmgpt.data.remote_files import find_files
from mmgpt.data.sources import Alpaca, Dolly, Messages
from tests.data.serving import serve

ROWS, GROUP = 48, 4
GROUPS = ROWS // GROUP


def record(number, picture):
    question = {'role': 'user', 'content': '<image>What digit is this?'}
    answer = {'role': 'assistant', 'content': f'It is the {number}.'}
    return {'id': f'm{number}', 'messages': [question, answer], 'images': [picture]}


def write(path, numbers, picture):
    rows = [record(number, picture(number)) for number in numbers]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=GROUP)


@pytest.fixture
def folder(tmp_path, make_picture):
    """Two files of 24 rows, six row groups each."""
    (tmp_path / 'set/data').mkdir(parents=True)
    for shard in range(2):
        numbers = range(24 * shard, 24 * shard + 24)
        write(
            tmp_path / f'set/data/train-{shard}.parquet',
            numbers,
            lambda number: {'bytes': make_picture(number, 40), 'path': f'{number}.png'},
        )
    return tmp_path / 'set'


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv('MMGPT_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(remote_files, 'PAUSES', (0.0, 0.0, 0.0))


@pytest.fixture
def server(folder):
    pytest.importorskip('aiohttp')
    with serve(folder) as running:
        yield running


@pytest.fixture
def hub(server, monkeypatch):
    """The server as the Hugging Face hub, which has the folder as the data set ``owner/name``."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.address)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'ENDPOINT', server.address)
    fsspec.get_filesystem_class('hf').clear_instance_cache()
    return server


def shards(server):
    return [f'{server.address}/data/train-{number}.parquet' for number in range(2)]


def pictures(source, index):
    return [source.images.read(key) for turn in source[index].turns for medium in turn.media for key in medium.frames]


def groups(server):
    """How often each row group was fetched: what was given apart from footers."""
    return Counter(part for part in server.parts if part[2] != 65536)


def in_memory(folder):
    system = fsspec.filesystem('memory')
    for path in folder.glob('data/*'):
        system.pipe(f'/streamed/{path.name}', path.read_bytes())
    return 'memory://streamed'


@pytest.mark.parametrize('kind', ['https', 'hub', 'hub pattern', 'file', 'memory'])
def test_a_set_elsewhere_has_the_samples_of_the_same_set_here(folder, hub, kind):
    address = {
        'https': shards(hub),
        'hub': 'hf://datasets/owner/name/data',
        'hub pattern': 'hf://datasets/owner/name/data/train-*.parquet',
        'file': f'file://{folder}/data',
        'memory': in_memory(folder),
    }[kind]
    local, source = Messages(folder / 'data'), pickle.loads(pickle.dumps(Messages(address)))
    assert len(source) == ROWS
    for index in (0, 23, 24, 47, 5):
        assert source[index].turns == local[index].turns
        assert source[index].id == local[index].id
        assert pictures(source, index) == pictures(local, index)
    assert source.images.open((30, 0)).size == (40, 40)
    assert source.blocks.tolist() == [GROUP] * GROUPS
    assert local.blocks is None
    assert all(path.is_file() for path in source.annotation_files)


@pytest.mark.parametrize('wrap', [lambda data: data, lambda data: {'bytes': data}])
def test_forms_of_pictures(folder, make_picture, wrap):
    write(folder / 'data/x.parquet', range(6), lambda number: wrap(make_picture(number)))
    source = Messages(f'file://{folder}/data/x.parquet')
    assert pictures(source, 5) == [make_picture(5)]


def test_opening_reads_footers_once_and_a_sample_fetches_its_row_group(server):
    Messages(shards(server))
    assert [size for _, _, size in server.parts] == [65536] * 2
    source = Messages(shards(server))
    assert len(server.parts) == 2  # the footers are remembered
    server.parts.clear()
    for _ in range(2):
        pictures(source, 9), pictures(source, 10)
    pictures(Messages(shards(server)), 11)  # as another process would
    assert len(server.parts) == 1
    assert server.given < (server.folder / 'data/train-0.parquet').stat().st_size / 5


def loader(sources, prompter, **options):
    cfg = {'batch_size': 3, 'dataset': {'sources': sources}, **options}
    return build_dataloader(cfg, prompter, seed=3)


def batches(stream, number):
    return [(batch['sample_ids'], batch['input_ids'].tolist()) for _, batch in zip(range(number), stream)]


def test_workers_share_what_is_fetched_and_the_stream_is_the_same_for_any_number_of_them(server, prompter):
    sources = [{'type': 'Messages', 'annotations': shards(server)}]
    alone = batches(loader(sources, prompter), 16)
    assert sorted(id for rows, _ in alone for row in rows for id in row) == sorted(f'm{i}' for i in range(ROWS))
    assert set(groups(server).values()) == {1}
    assert sum(groups(server).values()) == GROUPS
    for file in (server.folder.parent / 'cache/remote/groups').glob('*.arrow'):
        file.unlink()
    server.parts.clear()
    assert batches(loader(sources, prompter, num_workers=2), 16) == alone
    assert sum(groups(server).values()) <= GROUPS + 4  # workers read ahead, into the next epoch
    resumed = loader(sources, prompter, num_workers=1)
    resumed.batch_sampler.skip(11)
    assert batches(resumed, 5) == alone[11:]


def test_the_cache_is_bounded_and_the_order_keeps_to_what_is_in_it(server, prompter, monkeypatch):
    folder = server.folder.parent / 'cache/remote/groups'
    pictures(Messages(shards(server)), 0)
    size = max(file.stat().st_size for file in folder.glob('*.arrow'))
    monkeypatch.setenv('MMGPT_STREAM_GB', str(5 * size / 1e9))
    server.parts.clear()
    sources = [{'type': 'Messages', 'annotations': shards(server), 'shuffle_blocks': 2}]
    most = 0
    for _, _ in zip(range(16), loader(sources, prompter)):
        most = max(most, sum(file.stat().st_size for file in folder.glob('*.arrow')))
    assert most <= 5 * size
    assert sum(groups(server).values()) <= GROUPS + 1


def test_packed_rows_of_a_streamed_set(server, prompter):
    sources = [{'type': 'Messages', 'annotations': shards(server)}]
    options = {'sampler': {'type': 'PackingSampler', 'row_length': 140, 'window': 16}}
    cfg = {'sources': sources, 'max_seq_len': 100}
    stream = build_dataloader({'batch_size': 2, 'dataset': cfg, **options}, prompter, seed=1)
    seen = [id for _, batch in zip(range(4), stream) for row in batch['sample_ids'] for id in row]
    assert len(seen) == len(set(seen))
    assert sum(groups(server).values()) <= GROUPS


def test_a_share_of_a_streamed_set(server):
    source, whole = Messages(shards(server), sample=10), Messages(shards(server))
    assert source.blocks.sum() == len(source) == 10
    ids = [source[index].id for index in range(10)]
    places = [int(id[1:]) for id in ids]
    assert places == sorted(set(places))
    assert [place // GROUP for place in places] == np.repeat(np.arange(GROUPS), source.blocks).tolist()
    assert source[4].turns == whole[places[4]].turns


def test_other_sources_are_streamed_too(folder):
    rows = [{'instruction': 'Add.', 'input': '1, 2', 'output': '3'}] * 3
    pq.write_table(pa.Table.from_pylist(rows), folder / 'alpaca.parquet')
    assert Alpaca(f'file://{folder}/alpaca.parquet')[2].turns == Alpaca(folder / 'alpaca.parquet')[2].turns


def test_a_file_that_changed_on_its_server_is_found(server, make_picture):
    for tags in (True, False):  # without a version, the footer tells
        server.tags = tags
        old = Messages(shards(server))
        old[0]
        write(
            server.folder / 'data/train-0.parquet',
            range(100, 108 + tags),
            lambda number: {'bytes': make_picture(number), 'path': None},
        )
        with pytest.raises(ValueError, match=r'train-0.parquet: has changed on its server .*: start a new run'):
            old[8]
        new = Messages(shards(server))
        assert (len(new), new[0].id) == (32 + tags, 'm100')
        assert new.annotation_files[0] != old.annotation_files[0]
        assert new.annotation_files[1] == old.annotation_files[1]


def test_a_file_of_the_same_size_is_told_by_its_footer(server):
    """Of a server that gives neither tags nor times."""
    server.tags = False
    path = server.folder / 'data/train-0.parquet'

    def write_plain(letter):
        table = pa.table({'id': [letter, letter * 2], 'instruction': [letter] * 2, 'output': [letter] * 2})
        pq.write_table(table, path, row_group_size=1, compression='none', use_dictionary=False)
        return path.stat().st_size

    size = write_plain('a')
    source = Alpaca(shards(server)[0])
    assert source[0].turns[1].text == 'a'
    assert write_plain('b') == size
    with pytest.raises(ValueError, match=r'train-0.parquet: has changed on its server .*: start a new run'):
        source[1]
    assert Alpaca(shards(server)[0])[1].turns[1].text == 'b'


def test_a_network_that_fails_for_a_while(server):
    server.failures = 4  # each question about a file counts twice
    source = Messages(shards(server))
    server.failures = 3
    assert source[7].id == 'm7'


def test_faults_name_the_file_and_the_row_group(server, folder):
    source = Messages(shards(server))
    server.status = 500
    with pytest.raises(OSError, match=r'train-1.parquet.*: could not be fetched in 4 tries.*what was fetched is kept'):
        source[30]
    with pytest.raises(OSError, match='could not be fetched in 4 tries'):
        Messages(shards(server))
    server.status = 403
    with pytest.raises(PermissionError, match=r'access is refused: log in'):
        source[30]
    server.status = 0
    with pytest.raises(FileNotFoundError, match=r'data/other.parquet: is not there'):
        Messages(f'{server.address}/data/other.parquet')
    server.ranges = False
    with pytest.raises(ValueError, match='gives no parts of files'):
        Messages(shards(server))
    server.ranges = True
    data = bytearray((folder / 'data/train-1.parquet').read_bytes())
    data[:4000] = bytes(4000)
    (folder / 'data/train-1.parquet').write_bytes(data)
    with pytest.raises(ValueError, match=r'train-1.parquet, row group 0: cannot be read as Parquet'):
        Messages(shards(server))[24]
    (folder / 'data/y.parquet').write_bytes(data.replace(b'messages', b'\xe5essages'))
    with pytest.raises(ValueError, match=r'y.parquet.*: cannot be read as Parquet: .*utf-8'):
        Messages(f'{server.address}/data/y.parquet')
    (folder / 'data/x.parquet').write_bytes(b'nothing at all')
    with pytest.raises(ValueError, match=r'x.parquet: should end as a Parquet file does'):
        Messages(f'{server.address}/data/x.parquet')


def test_what_cannot_be_streamed_says_what_to_do(folder, hub, monkeypatch, prompter):
    (folder / 'rows.jsonl').write_text('{}')
    with pytest.raises(ValueError, match=r'only Parquet is streamed. tools/dataset_converters/to_datasets.py'):
        Messages(f'{hub.address}/rows.jsonl')
    with pytest.raises(ValueError, match=r'hf://datasets/owner/name@~parquet/default/train'):
        Dolly('hf://datasets/owner/name/rows.jsonl')
    with pytest.raises(ValueError, match=r'has no .parquet files of its own; name the folder that has them'):
        Messages('hf://datasets/owner/name')
    (folder / 'data/test-0.parquet').write_bytes(b'')
    fsspec.get_filesystem_class('hf').clear_instance_cache()
    with pytest.raises(ValueError, match=r'has files of test and train: .*such as .*/data/train-\*.parquet'):
        Messages('hf://datasets/owner/name/data')
    sources = [{'type': 'Messages', 'annotations': shards(hub), 'retriever': {'type': 'RelatedInstructions', 'num': 1}}]
    with pytest.raises(ValueError, match=r'is streamed, and a retriever looks for samples all over it: download it'):
        build_dataset({'sources': sources}, prompter)
    monkeypatch.setenv('MMGPT_STREAM_GB', 'much')
    with pytest.raises(ValueError, match="MMGPT_STREAM_GB should be a number of GB above 0, such as 20, got 'much'"):
        Messages(shards(hub))

    def absent(address):
        raise ImportError('no such package')

    monkeypatch.setattr(fsspec.core, 'url_to_fs', absent)
    with pytest.raises(ImportError, match=r'pip install "mmgpt\[streaming\]"'):
        find_files('https://host/a.parquet')
    with pytest.raises(ImportError, match='the package for s3://'):
        find_files('s3://bucket/a.parquet')


def test_offline_what_was_fetched_is_used_and_nothing_is_asked(server, monkeypatch):
    from huggingface_hub import constants

    Messages(shards(server))[5]
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    server.status = 500
    source = Messages(shards(server))
    assert source[6].id == 'm6'
    with pytest.raises(OSError, match='is not on this machine, and HF_HUB_OFFLINE forbids to fetch it'):
        source[20]
    with pytest.raises(OSError, match='is not known on this machine'):
        Messages(f'{server.address}/data/other.parquet')


def test_the_bounded_cache(tmp_path):
    made = []

    def make(name):
        made.append(name)
        return lambda path: path.write_bytes(name.encode() * 10)

    def get(cache, name):
        return cache.get(name, make(name), lambda path: path.read_bytes())

    cache = BoundedCache(tmp_path / 'c', limit=30)
    for number, name in enumerate('abc'):
        assert get(cache, name) == name.encode() * 10
        os.utime(tmp_path / 'c' / name, (number, number))
    get(cache, 'a')  # used again
    get(cache, 'd')
    assert {path.name for path in (tmp_path / 'c').iterdir() if path.suffix != '.lock'} == {'a', 'c', 'd'}

    def fails(path):
        path.write_bytes(b'half')
        raise OSError('no room')

    with pytest.raises(OSError, match='no room'):
        cache.get('e', fails, lambda path: path.read_bytes())
    assert not list((tmp_path / 'c').glob('e*'))
    small = BoundedCache(tmp_path / 's', limit=1)
    assert get(small, 'a') == b'a' * 10  # what is used now has room


def test_the_doctor_and_the_browser_read_streamed_sets(server, tmp_path, llama_tokenizer_dir, capsys):
    from tools import browse_dataset, verify_dataset

    address = shards(server)[0]
    named = ['--source', 'messages', '--ann', address, '--template', 'otter', '--tokenizer', str(llama_tokenizer_dir)]
    assert verify_dataset.main([*named, '--jobs', '2', '--json', str(tmp_path / 'report.json')]) == 0
    assert browse_dataset.main([*named, '--jsonl', str(tmp_path / 'rows.jsonl'), '--limit', '3']) == 0
    rows = [json.loads(line) for line in (tmp_path / 'rows.jsonl').read_text().splitlines()]
    assert [row['id'] for row in rows] == ['m0', 'm1', 'm2']
    capsys.readouterr()
    assert verify_dataset.main([*named, '--fix', str(tmp_path / 'fixed')]) == 2
    assert 'download what lies elsewhere first' in capsys.readouterr().err
