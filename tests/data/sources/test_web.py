"""Captioned pictures and web pages out of tars, against the published rules written down a second time."""

from __future__ import annotations

import base64
import io
import itertools
import json
import pickle
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from mmgpt.data.builder import build_dataloader, build_dataset
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.prompter import Prompter
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import ImageTextTars, Mmc4, Source, Unusable
from mmgpt.data.templates import Interleaved
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.structures import IGNORE_INDEX, Medium, Sample, Turn


def jpeg(colour: int, side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new('RGB', (side, side), (colour, colour, colour)).save(file, 'JPEG')
    return file.getvalue()


def padded(colour: int, size: int = 11_000) -> bytes:
    """A picture of at least so many bytes, as pages need: what follows its end is not looked at."""
    data = jpeg(colour)
    return data + bytes(max(0, size - len(data)))


def write_tar(path, files) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def page(similarity, images=None, sentences=None, **changes) -> dict:
    """A record of MMC4: a row of similarities for each picture."""
    images = images or [padded(number * 40) for number in range(len(similarity))]
    entries = [
        {'image_name': f'{n}.jpg', 'matched_text_index': 0, 'matched_sim': 0.3}
        | ({} if data is None else {'image_base64': base64.b64encode(data).decode()})
        for n, data in enumerate(images)
    ]
    sentences = sentences or [f'Sentence {n}.' for n in range(len(similarity[0]))]
    return {'text_list': sentences, 'image_info': entries, 'similarity_matrix': similarity} | changes


def pages(tmp_path, *records, **options) -> Mmc4:
    write_tar(tmp_path / 'mmc4' / '000.tar', [(f'{n:05d}.json', json.dumps(r).encode()) for n, r in enumerate(records)])
    return Mmc4(tmp_path / 'mmc4', **options)


def colours(sample) -> list[int]:
    """Which pictures a sample shows, in order: what :func:`page` made them of."""
    return [round(medium.frames[0].getpixel((0, 0))[0] / 40) for turn in sample.turns for medium in turn.media]


@pytest.fixture
def reader(tokenizer) -> Prompter:
    return Prompter(Interleaved(), tokenizer, ImageTransform(8))


# ---- image-text tars


@pytest.fixture
def laion(tmp_path):
    for shard in range(2):
        files = []
        for n in range(4):
            files += [
                (f'{n:04d}.jpg', jpeg(n * 40)),
                (f'{n:04d}.txt', f' a scene {shard}{n}\n'.encode()),
                (f'{n:04d}.json', b'{}'),
            ]
        write_tar(tmp_path / 'laion' / f'0000{shard}.tar', files)
    return tmp_path / 'laion'


def test_a_caption_and_its_picture(laion):
    source = ImageTextTars(laion)
    assert len(source) == 8
    sample = source[5]
    assert (sample.id, sample.kind, sample.source) == ('00001/0001', 'image', 'laion')
    assert [turn.text for turn in sample.turns] == ['', 'a scene 11']
    assert colours(sample) == [1]
    assert source.find('00001/0001').turns[1] == sample.turns[1]
    assert pickle.loads(pickle.dumps(source))[7].turns[1].text == 'a scene 13'
    with pytest.raises(KeyError, match='ids are such as'):
        source.find('00001/0009')
    with pytest.raises(IndexError):
        source[8]


def test_the_index_is_mapped_where_tars_are_big(laion, monkeypatch):
    monkeypatch.setattr('mmgpt.data.cache.SMALL', 0)
    source = ImageTextTars(laion)
    assert isinstance(source.samples._spans, np.memmap)
    assert len(pickle.dumps(source)) < 2000  # not the index
    assert [pickle.loads(pickle.dumps(source))[i].turns[1].text for i in (0, 7)] == ['a scene 00', 'a scene 13']


def test_members_that_lack_a_file_and_names_of_any_length(tmp_path, caplog):
    deep = 'part/' + 'x' * 150
    files = [(f'{deep}.JPG', jpeg(40)), (f'{deep}.txt', b'deep'), ('lonely.txt', b'no picture'), ('b.jpg', jpeg(0))]
    text = base64.b64encode(jpeg(80))  # as one published set has its pictures
    write_tar(tmp_path / 'a.tar', [*files, ('c.png', text), ('c.txt', b'as text')])
    source = ImageTextTars(tmp_path / 'a.tar')
    assert [source[i].id for i in range(len(source))] == [f'a/{deep}', 'a/c']
    assert colours(source[1]) == [2]
    assert '2 of 4 samples lack a file' in caplog.text


def test_what_is_no_tar_is_named(tmp_path, laion):
    with pytest.raises(FileNotFoundError, match='no such tar or folder'):
        ImageTextTars(tmp_path / 'nowhere')
    data = (laion / '00000.tar').read_bytes()
    (laion / '00000.tar').write_bytes(data[: 3 * 512 + 100])
    with pytest.raises(ValueError, match=r'00000\.tar: is no whole, uncompressed tar'):
        ImageTextTars(laion)
    write_tar(tmp_path / 'a.tar', [('a.txt', b'text')])
    with pytest.raises(ValueError, match='none of 1 tars has a sample with page'):
        Mmc4(tmp_path / 'a.tar')


def test_shards_may_be_a_pattern(laion):
    whole = ImageTextTars(laion)
    for shards in (
        f'{laion}/{{00000..00001}}.tar',
        f'{laion}/*.tar',
        [f'{laion}/0000{{0..1}}.tar'],
        laion / '0000?.tar',
    ):
        source = ImageTextTars(shards)
        assert [source[i].turns[1].text for i in range(8)] == [whole[i].turns[1].text for i in range(8)]
    assert len(ImageTextTars(f'{laion}/{{00001..00001}}.tar')) == 4
    with pytest.raises(FileNotFoundError, match=r'00002\.tar: there is no such tar'):
        ImageTextTars(f'{laion}/{{00000..00002}}.tar')
    with pytest.raises(FileNotFoundError, match=r'1\*\.tar: there is no such tar'):
        ImageTextTars(f'{laion}/1*.tar')


def test_all_of_a_caption_is_trained(laion, reader, tokenizer):
    tokens = reader.encode(ImageTextTars(laion)[0].turns, max_seq_len=32)
    text = tokenizer.decode(tokens.input_ids)
    assert text == f'{tokenizer.bos_token}<image>a scene 00<|endofchunk|>{tokenizer.eos_token}'
    assert tokens.labels[:2].tolist() == [IGNORE_INDEX] * 2  # beginning of text and mark
    assert torch.equal(tokens.labels[2:], tokens.input_ids[2:])
    cut = reader.encode(ImageTextTars(laion)[0].turns, max_seq_len=4)  # all that is left is trained, and no end comes
    assert torch.equal(cut.input_ids, tokens.input_ids[:4])
    assert torch.equal(cut.labels, tokens.labels[:4])


def test_broken_samples_are_replaced(tmp_path, reader):
    files = []
    for n in range(12):
        files += [(f'{n}.jpg', jpeg(0) if n % 3 else b'\xff\xd8 broken'), (f'{n}.txt', b'' if n % 3 == 1 else b'fine')]
    write_tar(tmp_path / 'a.tar', files)
    source = dict(type='ImageTextTars', shards=str(tmp_path / 'a.tar'))
    dataset = build_dataset(dict(sources=[source]), reader, seed=1)
    with pytest.raises(Unusable, match=r"a\.tar: '0'"):
        dataset.entries[0].source[0]
    with pytest.raises(Unusable, match='has no caption'):
        dataset.entries[0].source[1]
    ids = [dataset.encode((0, index, 0)).id for index in range(12)]
    assert {int(id.removeprefix('a/')) % 3 for id in ids} == {2}
    assert len(set(ids)) > 1
    assert ids == [dataset.encode((0, index, 0)).id for index in range(12)]


def test_a_set_of_which_nothing_can_be_used_is_an_error(tmp_path, reader):
    write_tar(tmp_path / 'a.tar', [('0.jpg', b'broken'), ('0.txt', b'text')])
    dataset = build_dataset(dict(sources=[dict(type='ImageTextTars', shards=str(tmp_path / 'a.tar'))]), reader)
    with pytest.raises(ValueError, match='100 samples in turn cannot be used'):
        dataset.encode((0, 0, 0))


# ---- pages


def published_text(record: dict, chosen: dict[int, int]) -> str:
    """The text of a page as the published code makes it: marks put before sentences, then cleaned."""
    sentences = [f'<|endofchunk|><image>{s}' if n in chosen else s for n, s in enumerate(record['text_list'])]
    text = ' '.join(sentences).replace('<|endofchunk|>', '', 1)
    return text.replace(' <|endofchunk|>', '<|endofchunk|>').replace(' <image>', '<image>') + '<|endofchunk|>'


def published_labels(ids: list[int], image: int, end: int) -> list[int]:
    """Masked: the marks, all before the first one, and all between an end-of-chunk and the next mark."""
    labels, seen = [], False
    for id in ids:
        labels.append(id if seen and id != image else IGNORE_INDEX)
        seen = (seen or id == image) and id != end
    return labels


def best_pairs(similarity) -> set[tuple[int, int]]:
    """The one-to-one assignment of the highest sum, by trying all."""
    rows, columns = len(similarity), len(similarity[0])
    if rows <= columns:
        ways = (list(enumerate(way)) for way in itertools.permutations(range(columns), rows))
    else:
        ways = ([(r, c) for c, r in enumerate(way)] for way in itertools.permutations(range(rows), columns))
    return set(max(ways, key=lambda way: sum(similarity[r][c] for r, c in way)))


@pytest.mark.parametrize('seed', range(8))
def test_pages_are_matched_cut_and_labelled_as_published(tmp_path, reader, tokenizer, seed):
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(0.1, 0.5, (int(rng.integers(1, 6)), int(rng.integers(1, 6)))).round(3).tolist()
    record = page(similarity)
    chosen = {c: r for r, c in best_pairs(similarity) if similarity[r][c] >= 0.24}
    source = pages(tmp_path, record)
    if not chosen:
        with pytest.raises(Unusable, match='no picture that fits'):
            source[0]
        return
    sample = source[0]
    text = published_text(record, chosen)
    assert reader.text(sample.turns) == text
    assert colours(sample) == [chosen[sentence] for sentence in sorted(chosen)]  # pictures as their marks stand
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)['input_ids'], tokenizer.eos_token_id]
    image, end = tokenizer.convert_tokens_to_ids(['<image>', '<|endofchunk|>'])
    for limit in (len(ids), len(ids) - 1, len(ids) // 2, 3):
        tokens = reader.encode(sample.turns, max_seq_len=limit)
        assert tokens.input_ids.tolist() == ids[:limit]
        assert tokens.labels.tolist() == published_labels(ids[:limit], image, end)
        assert len(tokens.media) == ids[:limit].count(image)


def test_six_pictures_at_most_the_first_ones(tmp_path):
    similarity = np.full((8, 8), 0.1)
    similarity[range(8), range(7, -1, -1)] = 0.4  # the last picture belongs to the first sentence
    similarity[1, 6] = 0.2  # and one to none
    sample = pages(tmp_path, page(similarity.tolist()))[0]
    assert colours(sample) == [6, 5, 4, 3, 2, 0]  # the first six of seven, in the order of their sentences
    texts = [turn.text for turn in sample.turns][::2]
    assert texts == [*(f'Sentence {n}.' for n in range(5)), 'Sentence 5. Sentence 6.', 'Sentence 7.']


def test_pictures_that_do_not_count(tmp_path):
    similarity = [[0.9, 0.3], [0.9, 0.3], [0.3, 0.5]]
    small = pages(tmp_path, page(similarity, [padded(0, 10_999), None, padded(80)]))[0]
    assert colours(small) == [2]
    assert [turn.text for turn in small.turns] == ['Sentence 0.', '', 'Sentence 1.']
    with pytest.raises(Unusable, match=r'is damaged|no picture that can be read'):
        pages(tmp_path, page([[0.5]], [b'\xff\xd8' + bytes(20_000)]))[0]


def test_the_stored_match(tmp_path):
    record = page([[0.9, 0.1, 0.1]])
    record['image_info'][0] |= {'matched_text_index': 2, 'matched_sim': 0.31}
    assert [turn.text for turn in pages(tmp_path, record, matching='stored')[0].turns][-1] == 'Sentence 2.'
    with pytest.raises(Unusable):
        pages(tmp_path, record, matching='stored', min_similarity=0.32)[0]


def test_pages_that_were_written(tmp_path, reader):
    def written(count: int) -> dict:
        marks = [f'_!_IMAGE{n}_!_' for n in range(1, count + 1)]
        text = 'A story. ' + ' '.join(f'{mark} Part {n}.' for n, mark in enumerate(marks))
        images = {mark: {'base64_image': base64.b64encode(jpeg(n * 40)).decode()} for n, mark in enumerate(marks)}
        return {'is_gpt': True, 'example': text, 'image_map': dict(reversed(images.items()))}

    source = pages(tmp_path, written(2), written(6), written(8), {**written(2), 'image_map': {}})
    expected = 'A story.<image>Part 0.<|endofchunk|><image>Part 1.<|endofchunk|>'
    assert reader.text(source[0].turns) == expected
    assert colours(source[0]) == [0, 1]
    assert colours(source[1]) == [0, 1, 2, 3, 4, 5]
    assert colours(source[2]) == [0, 1, 2, 3, 4]  # cut before the sixth
    with pytest.raises(Unusable, match='no picture'):
        source[3]


NO_PAGES = [
    [],
    {},
    {'text_list': ['a'], 'image_info': [{'image_base64': '?'}]},
    {'is_gpt': True},
    page([[0.5]], similarity_matrix=[]),
]


@pytest.mark.parametrize('record', NO_PAGES)
def test_what_is_no_page_is_unusable(tmp_path, record):
    with pytest.raises(Unusable, match=r"000\.tar: '00000'"):
        pages(tmp_path, record)[0]


def test_text_of_the_web_may_hold_anything(tmp_path, reader):
    sentences = ['Half \ud83d a pair.', 'A <image> mark <|endofchunk|>.']
    sample = pages(tmp_path, page([[0.1, 0.5]], sentences=sentences))[0]
    assert reader.text(sample.turns) == 'Half  a pair.<image>A  mark .<|endofchunk|>'
    assert len(reader.encode(sample.turns).media) == 1


def test_half_of_the_pages_with_one_picture_left_are_left_out(tmp_path, reader):
    records = [page([[0.5, 0.1]]) if n % 2 else page([[0.5, 0.1], [0.1, 0.5]]) for n in range(40)]
    pages(tmp_path, *records)

    def share(limit: int, **options) -> float:
        source = dict(type='Mmc4', shards=str(tmp_path / 'mmc4'), max_seq_len=limit, **options)
        dataset = build_dataset(dict(sources=[source]), reader)
        taken = [dataset.encode((0, index, epoch)) for index in range(1, 40, 2) for epoch in range(5)]
        assert all((encoded.labels != IGNORE_INDEX).any() for encoded in taken)
        return sum(encoded.id.endswith(tuple('13579')) for encoded in taken) / len(taken)

    # asked for one with one picture: kept, or another one is drawn, half of which have one: 1/2 + 1/2 * 1/4 / (3/4)
    assert abs(share(256) - 2 / 3) < 0.1
    assert share(256, keep_single=1.0) == 1
    assert share(256, keep_single=0.0) == 0


class _Pages(Source):
    """Twenty pages that cost nothing to read."""

    pages = True

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Sample:
        turns = [Turn('system', 'A lead.'), Turn('user', '', (Medium(('barn',)),)), Turn('assistant', 'A barn.')]
        return Sample(str(index), tuple(turns))

    def find(self, id: str) -> Sample:
        return self[int(id)]


def test_the_text_of_so_many_pages_sees_the_next_picture(reader):
    addresses = list(itertools.product([0], range(20), range(20)))

    def choices(share: float | None, seed: int = 0) -> list[bool | None]:
        dataset = InstructionDataset([SourceEntry(_Pages('pages'), attend_next=share)], reader, seed=seed)
        return [dataset.encode(address).attend_next for address in addresses]

    assert set(choices(None)) == {None}
    assert set(choices(0.0)) == {False}
    assert set(choices(1.0)) == {True}
    for share in (0.25, 0.5):
        drawn = choices(share)
        assert abs(np.mean(drawn) - share) < 4 * (share * (1 - share) / len(drawn)) ** 0.5
    assert drawn == choices(0.5)  # of seed and address alone
    assert drawn != choices(0.5, seed=1)
    assert len({tuple(drawn[epoch::20]) for epoch in range(20)}) == 20  # anew in each epoch


def test_the_choice_changes_nothing_else(tmp_path, reader):
    pages(tmp_path, *[page([[0.5, 0.3, 0.1]]) if n % 2 else page([[0.5, 0.1], [0.1, 0.5]]) for n in range(9)])
    source = dict(type='Mmc4', shards=str(tmp_path / 'mmc4'), augment=[dict(type='RandomFlip')])
    plain, drawn = (build_dataset(dict(sources=[source | o]), reader) for o in ({}, {'attend_next': 0.5}))
    for index in range(9):
        one, other = plain[0, index, 2], drawn[0, index, 2]
        assert torch.equal(one.encoded.input_ids, other.encoded.input_ids)
        assert torch.equal(one.encoded.labels, other.encoded.labels)
        assert all(torch.equal(*pair) for pair in zip(one.frames.values(), other.frames.values(), strict=True))
        assert plain.measure((0, index, 2)) == drawn.measure((0, index, 2))


def test_captions_cannot_see_the_next_picture(laion, reader):
    source = dict(type='ImageTextTars', shards=str(laion))
    with pytest.raises(ValueError, match='for web pages; the samples of ImageTextTars have their pictures before'):
        build_dataset(dict(sources=[source | {'attend_next': 0.5}]), reader)
    with pytest.raises(ValueError, match=r'from 0 to 1, or None; got 1\.5'):
        build_dataset(dict(sources=[source | {'attend_next': 1.5}]), reader)
    dataset = build_dataset(dict(sources=[source | {'attend_next': 0.0}]), reader)
    assert dataset.encode((0, 0, 0)).attend_next is False


# ---- the stream


@pytest.fixture
def stream(tmp_path, laion):
    pages(tmp_path, *[page([[0.5, 0.3, 0.1]]) if n % 2 else page([[0.5, 0.1], [0.1, 0.5]]) for n in range(9)])
    sources = [
        dict(
            type='ImageTextTars', shards=str(laion), max_seq_len=32, loss_weight=0.2, augment=[dict(type='RandomFlip')]
        ),
        dict(type='Mmc4', shards=str(tmp_path / 'mmc4'), max_seq_len=64, num_samples=4, attend_next=0.5),
    ]
    return dict(batch_size=3, dataset=dict(sources=sources))


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize('workers', [1, 4])
def test_the_stream_is_the_same_for_any_number_of_workers_and_processes(stream, reader, workers):
    single = list(itertools.islice(build_dataloader(stream, reader, seed=3), 12))
    many = list(itertools.islice(build_dataloader({**stream, 'num_workers': workers}, reader, seed=3), 12))
    assert all(map(same, single, many))
    ranks = [build_dataloader(stream, reader, seed=3, rank=rank, world_size=2) for rank in range(2)]
    both = list(itertools.chain.from_iterable(itertools.islice(zip(*ranks, strict=True), 6)))
    assert all(map(same, single, both))
    weights = {round(w, 3) for batch in single for w in batch['loss_weights'].unique().tolist()}
    assert weights == {0.0, 0.2, 1.0}
    placed = [batch['attend_next'].flatten() for batch in single if 'attend_next' in batch]
    assert torch.cat(placed).unique().tolist() == [-1, 0, 1]  # captions follow the model, pages are drawn


def test_a_resumed_stream_goes_on_exactly(stream, reader):
    whole = list(itertools.islice(build_dataloader(stream, reader), 10))
    resumed = build_dataloader({**stream, 'num_workers': 1}, reader)
    resumed.batch_sampler.load_state_dict({**resumed.batch_sampler.state_dict(), 'position': 4 * 3})
    assert all(map(same, itertools.islice(resumed, 6), whole[4:]))
