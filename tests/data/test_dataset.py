import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from mmgpt.data.dataset import Address, InstructionDataset, compose
from mmgpt.data.image_stores import ParquetImages
from mmgpt.data.incontext import RelatedInstructions
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import MimicIt
from mmgpt.data.vision_inputs import RandomAffine
from mmgpt.structures import IGNORE_INDEX, Medium, Sample, Turn


@pytest.fixture
def source(mimicit):
    return MimicIt(mimicit / 'XX_instructions.json', ParquetImages(mimicit / 'XX.parquet'))


def text_of(encoded, prompter) -> str:
    return prompter.tokenizer.decode(encoded.input_ids)


def frame_names(encoded) -> list[list[str]]:
    return [[key.key for key in medium.frames] for medium in encoded.media]


def test_context_stands_before_the_query_each_with_its_own_picture(source, prompter):
    dataset = InstructionDataset([SourceEntry(source, RelatedInstructions(2, 'first'), loss_weight=0.5)], prompter)
    item = dataset[Address(0, 5)]
    assert item.encoded.context_ids == ('XX_INS_00', 'XX_INS_01')
    assert text_of(item.encoded, prompter) == '<s>' + ''.join(
        f'<image>User:What is digit {i}? GPT:<answer>It is the {i} of 16.<|endofchunk|>' for i in (0, 1, 5)
    ) + '</s>'  # fmt: skip
    assert frame_names(item.encoded) == [['XX_IMG_00'], ['XX_IMG_01'], ['XX_IMG_05']]
    assert (item.encoded.kind, item.encoded.weight) == ('image', 0.5)
    for medium in item.encoded.media:
        for key in medium.frames:
            expected = prompter.image_transform(source.images.open(key.key))
            assert torch.equal(item.frames[key], expected)


def test_with_a_shared_medium_the_first_example_has_the_mark_of_all(source, prompter):
    dataset = InstructionDataset([SourceEntry(source, RelatedInstructions(2, 'first'), marks='first')], prompter)
    encoded = dataset[Address(0, 5)].encoded
    assert text_of(encoded, prompter).startswith('<s><image>User:What is digit 0?')
    assert text_of(encoded, prompter).count('<image>') == 1
    assert frame_names(encoded) == [['XX_IMG_05']]


def test_a_row_that_is_too_long_loses_its_oldest_examples_first(source, prompter):
    def encoded(limit):
        return InstructionDataset([SourceEntry(source, RelatedInstructions(3, 'first'))], prompter, limit).encode(
            Address(0, 5)
        )

    whole = encoded(None)
    length = len(whole.input_ids) - 2
    kept = {limit: encoded(limit) for limit in (length, length - 1, length // 2, length // 4, 3)}
    context = [e.context_ids for e in kept.values()]
    all_ids = whole.context_ids
    assert context == [all_ids, all_ids[1:], all_ids[2:], (), ()]
    for limit, e in kept.items():
        assert len(e.input_ids) <= limit + 2
        assert len(e.media) == text_of(e, prompter).count('<image>')
    assert [m.frames[0] for m in kept[length // 2].media] == ['XX_IMG_02', 'XX_IMG_05']
    cut = kept[3]  # the question itself is cut: nothing of the answer is left, the end is
    assert cut.labels[cut.labels != IGNORE_INDEX].tolist() == [prompter.tokenizer.eos_token_id]


def test_kept_pictures_are_decoded_once_and_change_nothing(source, prompter, monkeypatch):
    augment = (RandomAffine(degrees=20.0),)

    def items(mib):
        made = InstructionDataset([SourceEntry(source, augment=augment)], prompter, keep_pictures=mib)
        return [made[Address(0, index, epoch)] for epoch in range(3) for index in range(4)]

    expected = items(0)
    opened = []
    open_picture = source.images.open
    monkeypatch.setattr(source.images, 'open', lambda key: opened.append(key) or open_picture(key))
    size = prompter.image_transform.size
    for mib, times in ((1, 4), (3 * size * size * 1.5 / 2**20, 2 + 2 * 3)):  # room for all, and for two of them
        opened.clear()
        for item, other in zip(items(mib), expected):
            assert item.frames.keys() == other.frames.keys()
            assert all(torch.equal(frame, other.frames[key]) for key, frame in item.frames.items())
        assert len(opened) == times
    with pytest.raises(ValueError, match='keep_pictures must be'):
        InstructionDataset([SourceEntry(source)], prompter, keep_pictures=-1)


def test_frames_of_a_batch_are_decoded_once(source, prompter, monkeypatch):
    opened = []
    open_picture = source.images.open
    monkeypatch.setattr(source.images, 'open', lambda key: opened.append(key) or open_picture(key))
    dataset = InstructionDataset([SourceEntry(source, RelatedInstructions(3)), SourceEntry(source)], prompter)
    items = dataset.__getitems__([Address(0, 0), Address(0, 1), Address(1, 0), Address(0, 8)])
    assert len(opened) == len(set(opened)) == len(items[0].frames)
    assert items[0].frames is items[3].frames


def test_an_augmented_picture_depends_on_seed_and_address_alone(source, prompter):
    augment = (RandomAffine(30, 0.2),)

    def frames(seed, address, augment=augment):
        item = InstructionDataset([SourceEntry(source, augment=augment)], prompter, seed=seed)[address]
        return torch.stack([item.frames[key] for medium in item.encoded.media for key in medium.frames])

    first = frames(0, Address(0, 1, 0))
    assert torch.equal(first, frames(0, Address(0, 1, 0)))
    assert not torch.equal(first, frames(0, Address(0, 1, 1)))
    assert not torch.equal(first, frames(1, Address(0, 1, 0)))
    assert not torch.equal(first, frames(0, Address(0, 1, 0), ()))


@dataclass
class Still:
    """A source of one video whose frames are all the same picture."""

    name: str = 'still'
    images: None = None

    def __len__(self):
        return 1

    def __getitem__(self, index):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
        turns = (Turn('user', 'q', (Medium((picture, picture)),)), Turn('assistant', 'a'))
        return Sample('s', turns, kind='video')


def test_a_video_moves_as_one_and_sources_may_give_pictures_themselves(prompter):
    item = InstructionDataset([SourceEntry(Still(), augment=(RandomAffine(40),))], prompter)[Address(0, 0)]
    first, second = (item.frames[key] for key in item.encoded.media[0].frames)
    assert torch.equal(first, second)


def test_a_text_after_examples_with_pictures_is_not_reported_as_text(tmp_path, mimicit, prompter):
    records = json.loads((mimicit / 'XX_instructions.json').read_text())
    records['data']['XX_INS_15']['rel_ins_ids'] = ['XX_INS_00']
    (tmp_path / 'XX_instructions.json').write_text(json.dumps(records))
    source = MimicIt(tmp_path / 'XX_instructions.json', ParquetImages(mimicit / 'XX.parquet'))
    entries = [
        SourceEntry(source),
        *(SourceEntry(source, RelatedInstructions(), marks) for marks in ('every', 'first')),
    ]
    dataset = InstructionDataset(entries, prompter)
    encoded = [dataset.encode(Address(entry, 15)) for entry in range(3)]
    assert [(e.kind, len(e.media)) for e in encoded] == [('text', 0), ('image', 1), ('text', 0)]


def test_retrieval_draws_anew_each_epoch(source, prompter):
    dataset = InstructionDataset([SourceEntry(source, RelatedInstructions((0, 3)))], prompter)
    contexts = [dataset.encode(Address(0, 5, epoch)).context_ids for epoch in range(20)]
    assert len(set(contexts)) > 3
    assert contexts == [dataset.encode(Address(0, 5, epoch)).context_ids for epoch in range(20)]


def test_compose_takes_the_task_description_of_the_query():
    def sample(name, *media):
        return Sample(name, (Turn('system', name), Turn('user', 'q', media), Turn('assistant', 'a')))

    context, query = sample('context', Medium(('a',))), sample('query', Medium(('b',)), Medium(('c',)))
    every = compose([context], query)
    assert [turn.text for turn in every] == ['query', 'q', 'a', 'q', 'a']
    assert [turn.media for turn in every] == [(), (Medium(('a',)),), (), (Medium(('b',)), Medium(('c',))), ()]
    first = compose([context], query, 'first')
    assert [turn.media for turn in first] == [(), (Medium(('b',)), Medium(('c',))), (), (), ()]


def test_an_error_tells_which_sample_it_is_about(tmp_path, mimicit, prompter):
    record = {'instruction': 'q', 'answer': 'a', 'image_ids': ['XX_IMG_77'], 'rel_ins_ids': ['gone']}
    (tmp_path / 'YY_instructions.json').write_text(json.dumps({'data': {'y1': record}}))
    source = MimicIt(tmp_path / 'YY_instructions.json', ParquetImages(mimicit / 'XX.parquet'))
    for entry, message in (
        (SourceEntry(source), "there is no image 'XX_IMG_77'"),
        (SourceEntry(source, RelatedInstructions()), "there is no instruction 'gone'"),
    ):
        with pytest.raises(KeyError, match=message) as caught:
            InstructionDataset([entry], prompter)[Address(0, 0)]
        assert caught.value.__notes__ == ["while reading sample 0 of the source 'YY'"]


def test_a_text_is_not_taken_for_the_frames_of_a_medium():
    with pytest.raises(TypeError, match=r"a tuple, got '12': a single one is \(frame,\)"):
        Medium('12')


def test_what_is_wrong_with_every_record_is_told_with_its_kind(source, prompter, monkeypatch):
    def fails(*args):
        raise KeyError('quetsion')

    monkeypatch.setattr(type(source), 'draw', fails)
    with pytest.raises(ValueError, match="in turn cannot be read, the last one since: KeyError: 'quetsion'"):
        InstructionDataset([SourceEntry(source)], prompter, replace_unreadable=True).__getitems__([Address(0, 0, 0)])


def test_shares_of_a_source(source):
    assert SourceEntry(source).quota == 16
    assert SourceEntry(source, weight=2.5).quota == 40
    assert SourceEntry(source, weight=0.25).quota == 4
    assert SourceEntry(source, weight=0.25, num_samples=7).quota == 7
    for options in (dict(weight=-1), dict(num_samples=-2), dict(loss_weight=-1)):
        with pytest.raises(ValueError, match='must not be negative'):
            SourceEntry(source, **options)
    with pytest.raises(ValueError, match=r'num_samples of XX must be a whole number or None, got 1000\.0'):
        SourceEntry(source, num_samples=1e3)
    with pytest.raises(ValueError, match="marks must be 'every' or 'first'"):
        SourceEntry(source, marks='one')


def test_a_data_set_without_sources(prompter):
    with pytest.raises(ValueError, match='at least one source'):
        InstructionDataset([], prompter)
