from dataclasses import replace

import pytest
import torch

from mmgpt.data.collate import PadCollate
from mmgpt.data.dataset import Item
from mmgpt.structures import GROUPS, IGNORE_INDEX, Encoded, Medium

FRAMES = {name: torch.full((3, 2, 2), i, dtype=torch.uint8) for i, name in enumerate('abcdef')}


def item(id, length, *media, kind='image', weight=1.0):
    ids = torch.arange(1, length + 1)
    labels = torch.where(ids > 2, ids, IGNORE_INDEX)
    return Item(Encoded(id, ids, labels, tuple(Medium(tuple(m)) for m in media), kind=kind, weight=weight), FRAMES)


MIXED = [
    item('text', 5, kind='text'),
    item('picture', 3, 'd'),
    item('several', 6, 'a', 'd', 'b', weight=0.5),
    item('video', 4, 'abc', 'fa', kind='video'),
]


def test_every_row_is_found_again():
    batch = PadCollate(pad_token_id=0)(MIXED)
    assert batch['input_ids'].shape == (4, 6)
    assert batch['sample_ids'] == [['text'], ['picture'], ['several'], ['video']]
    assert batch['kinds'].tolist() == [[0], [1], [1], [2]]
    for row, (encoded, *_) in enumerate(MIXED):
        n = len(encoded.input_ids)
        assert torch.equal(batch['input_ids'][row, :n], encoded.input_ids)
        assert torch.equal(batch['labels'][row, :n], encoded.labels)
        assert batch['position_ids'][row].tolist() == [*range(n), *[0] * (6 - n)]
        assert batch['segment_ids'][row].tolist() == [1] * n + [0] * (6 - n)
        assert batch['input_ids'][row, n:].tolist() == [0] * (6 - n)
        assert batch['labels'][row, n:].tolist() == [IGNORE_INDEX] * (6 - n)
        trained = (batch['labels'][row] != IGNORE_INDEX).float()
        assert torch.equal(batch['loss_weights'][row], encoded.weight * trained)


def test_without_padding_all_samples_are_in_one_row():
    batch = PadCollate(pad_token_id=0, padding_free=True)(MIXED)
    packed = PadCollate(pad_token_id=0)([MIXED])
    assert batch['sample_ids'] == [['text', 'picture', 'several', 'video']]
    assert batch['input_ids'].shape == (1, sum(len(encoded.input_ids) for encoded, *_ in MIXED))
    assert batch.keys() == packed.keys()
    for name, value in packed.items():
        assert torch.equal(batch[name], value) if torch.is_tensor(value) else batch[name] == value
    rows = PadCollate(pad_token_id=0, padding_free=True)([MIXED[:1], MIXED[1:]])  # already packed ones are joined
    assert torch.equal(rows['segment_ids'], packed['segment_ids'])


def test_each_distinct_frame_comes_once_and_is_where_it_belongs():
    batch = PadCollate(pad_token_id=0)(MIXED)
    assert batch['frames'].dtype == torch.uint8
    assert len(batch['frames']) == len({name for encoded, *_ in MIXED for m in encoded.media for name in m.frames})
    assert batch['media_frames'].shape == (4, 3, 3)
    for row, (encoded, *_) in enumerate(MIXED):
        found = [[f for f in medium if f >= 0] for medium in batch['media_frames'][row].tolist()]
        names = [['abcdef'[int(batch['frames'][f, 0, 0, 0])] for f in medium] for medium in found]
        assert names == [list(m.frames) for m in encoded.media] + [[]] * (3 - len(encoded.media))


def test_what_samples_say_about_the_medium_that_their_text_sees_is_told_per_segment():
    def choosing(id, choice):
        one = item(id, 4, 'a')
        return one._replace(encoded=replace(one.encoded, attend_next=choice))

    collate = PadCollate(pad_token_id=0)
    rows = [[choosing('p', True), item('q', 3), choosing('r', False)], [choosing('s', False)]]
    assert collate(rows)['attend_next'].tolist() == [[1, -1, 0], [0, -1, -1]]
    assert 'attend_next' not in collate(MIXED)


def test_padding_that_is_the_end_of_text_is_not_trained():
    end = 5
    batch = PadCollate(pad_token_id=end)([item('short', 3), item('long', 5)])
    assert batch['labels'].tolist() == [
        [IGNORE_INDEX, IGNORE_INDEX, 3, IGNORE_INDEX, IGNORE_INDEX],
        [-100, -100, 3, 4, 5],
    ]


def test_a_batch_of_text_has_no_frames():
    batch = PadCollate(pad_token_id=0)([item('a', 3, kind='text'), item('b', 2, kind='text')])
    assert 'frames' not in batch
    assert batch['media_frames'].shape == (2, 0, 0)


@pytest.mark.parametrize(('multiple', 'width'), [(1, 6), (4, 8), (6, 6), (16, 16)])
def test_widths_are_rounded_up(multiple, width):
    batch = PadCollate(0, multiple)(MIXED)
    assert {
        name: batch[name].shape[1] for name in ('input_ids', 'labels', 'segment_ids', 'loss_weights')
    } == dict.fromkeys(('input_ids', 'labels', 'segment_ids', 'loss_weights'), width)
    assert (batch['labels'][:, 6:] == IGNORE_INDEX).all()


@pytest.mark.parametrize(('tag', 'language'), [('', ''), ('zh', 'zh'), ('zh-CN', 'zh'), ('EN', 'en'), ('nl', 'other')])
def test_kind_and_language_are_what_a_loss_is_reported_under(tag, language):
    row = replace(MIXED[1].encoded, language=tag)
    assert GROUPS[PadCollate(pad_token_id=0)([Item(row, FRAMES)])['kinds'].item()] == ('image', language)


def test_packed_rows_are_their_samples_one_after_the_other():
    text, picture, several, video = MIXED
    batch = PadCollate(pad_token_id=0)([[video, text], several, [picture]])
    apart = PadCollate(pad_token_id=0)([video, text, several, picture])
    assert batch['sample_ids'] == [['video', 'text'], ['several'], ['picture']]
    assert batch['segment_ids'].tolist() == [[1] * 4 + [2] * 5, [1] * 6 + [0] * 3, [1] * 3 + [0] * 6]
    assert batch['position_ids'][0].tolist() == [*range(4), *range(5)]
    assert batch['kinds'].tolist() == [[2, 0], [1, -1], [1, -1]]
    single = 0
    for row, samples in enumerate(batch['sample_ids']):
        for segment in range(1, len(samples) + 1):
            here, there = batch['segment_ids'][row] == segment, apart['segment_ids'][single] == 1
            for name in ('input_ids', 'labels', 'position_ids', 'loss_weights'):
                assert torch.equal(batch[name][row][here], apart[name][single][there])
            single += 1
    assert batch['media_frames'].shape == (3, 3, 3)
    assert len(batch['frames']) == len(apart['frames'])
    first, second = batch['media_frames'][0, :2].tolist()
    assert [['abcdef'[int(batch['frames'][f, 0, 0, 0])] for f in m if f >= 0] for m in (first, second)] == [
        list('abc'),
        list('fa'),
    ]
    assert (batch['labels'][batch['segment_ids'] == 0] == IGNORE_INDEX).all()
