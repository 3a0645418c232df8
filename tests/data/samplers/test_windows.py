"""Rows planned from lengths: packed, and grouped by length."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.data.dataset import Address, Length
from mmgpt.data.lengths import Lengths
from mmgpt.data.samplers import LengthGroupedSampler, MixtureSampler, PackingSampler
from mmgpt.data.samplers.packing import pack

LIMIT = 30


class Data:
    """Two sources; the lengths of the second one's samples are others in each epoch."""

    sizes, quotas, max_seq_len = [23, 9], [23, 18], LIMIT

    def __init__(self):
        self.measured = []

    def length(self, address: Address) -> int:
        seed = (address.source, address.index, address.epoch * address.source)
        return int(np.random.default_rng(seed).integers(3, LIMIT + 3))

    def measure(self, address: Address) -> Length:
        self.measured.append(address)
        return Length(self.length(address), lasting=address.source == 0)


KINDS = (PackingSampler, LengthGroupedSampler)


def sampler(kind, batch_size=2, window=16, **options):
    if kind is PackingSampler:
        options = {'row_length': 50, **options}
    return kind(Data(), batch_size, window=window, **options)


def take(stream, batches):
    return [batch for _, batch in zip(range(batches), stream)]


def in_rows(batches):
    return [row for batch in batches for row in batch]


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 99), shuffle=st.booleans(), window=st.integers(1, 60))
def test_each_window_holds_the_samples_of_the_mixture(kind, seed, shuffle, window):
    stream = sampler(kind, 1, window, seed=seed, shuffle=shuffle)
    mixture = MixtureSampler(Data(), 1, shuffle, seed)
    rows = iter(in_rows(take(stream, 200)))
    for start in range(0, 60, stream.window_size):
        expected = {mixture.address(start + i) for i in range(stream.window_size)}
        found = []
        while len(found) < stream.window_size:
            found += next(rows)
        assert len(found) == len(set(found)) == len(expected)
        assert set(found) == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=50), st.integers(40, 80))
def test_packing_is_tight(lengths, row_length):
    rows = pack(lengths, row_length)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    filled = [sum(lengths[place] for place in row) for row in rows]
    assert max(filled) <= row_length
    ascending = sorted(filled)
    assert len(rows) < 2 or sum(ascending[:2]) > row_length  # no two rows would fit into one


def test_rows_are_nearly_full():
    rows = in_rows(take(sampler(PackingSampler, 4, window=41), 8))
    data = Data()
    filled = [sum(map(data.length, row)) for row in rows]
    assert max(filled) <= 50
    assert np.mean(filled) > 45
    assert all(isinstance(row, list) for row in rows)


def test_grouped_batches_hold_samples_of_similar_length():
    data = Data()

    def waste(stream):
        batches = [np.array(batch).reshape(-1, 3).tolist() for batch in take(stream, 9)]
        batches = [[data.length(Address(*address)) for address in batch] for batch in batches]
        return sum(max(batch) * len(batch) - sum(batch) for batch in batches)

    assert waste(sampler(LengthGroupedSampler, 4, 41, group=4)) < waste(MixtureSampler(data, 4)) / 3


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    steps=st.integers(0, 30),
    more=st.integers(0, 9),
    read=st.integers(0, 12),
    batch_size=st.integers(1, 4),
    world_size=st.integers(1, 3),
)
def test_the_stream_goes_on_exactly_with_any_batch_size_and_number_of_processes(
    kind, steps, more, read, batch_size, world_size
):
    whole = in_rows(take(sampler(kind, 1), 400))
    stream = sampler(kind, batch_size, world_size=world_size, rank=world_size - 1)
    take(stream, read)  # reading ahead does not move the position
    for _ in range(steps):
        stream.skip(1)
    done = steps * batch_size * world_size
    assert stream.position == sum(map(len, whole[:done]))
    state = json.loads(json.dumps(stream.state_dict()))
    resumed = sampler(kind, 3)
    resumed.load_state_dict(state)
    assert in_rows(take(resumed, 5)) == whole[done : done + 15]
    resumed.skip(more)
    assert in_rows(take(resumed, 2)) == whole[done + 3 * more : done + 3 * more + 6]


@pytest.mark.parametrize('kind', KINDS)
def test_processes_take_turns(kind):
    single = take(sampler(kind), 12)
    ranks = [take(sampler(kind, rank=rank, world_size=2), 6) for rank in (0, 1)]
    assert single == [batch for pair in zip(*ranks) for batch in pair]


@pytest.mark.parametrize('kind', KINDS)
def test_an_epoch_is_counted(kind):
    stream = sampler(kind, 2, window=41, world_size=2)
    rows = 41 if kind is LengthGroupedSampler else len(in_rows(take(sampler(kind, 1, window=41), 60)))
    assert stream.epoch_size == 41
    if kind is LengthGroupedSampler:
        assert stream.batches_per_epoch == rows / 4
    else:
        assert 41 * 17 / 50 / 4 < stream.batches_per_epoch < 41 * 22 / 50 / 4


@pytest.mark.parametrize('kind', KINDS)
def test_seeds_give_other_orders(kind):
    assert take(sampler(kind, seed=1), 5) != take(sampler(kind, seed=2), 5)


def test_without_shuffling_rows_come_in_the_order_of_the_files():
    firsts = [row[0] for row in in_rows(take(sampler(PackingSampler, 1, window=23, shuffle=False), 8))]
    assert [a.index for a in firsts] == sorted(a.index for a in firsts)
    assert {a.source for a in firsts} == {0}


@pytest.mark.parametrize('workers', [0, 1, 2])
def test_lengths_are_measured_ahead_and_only_once_where_they_last(workers):
    data = Data()
    lengths = Lengths(data)
    groups = [[Address(s, i, e) for s in (0, 1) for i in range(6)] for e in range(3)]
    before = torch.get_rng_state()
    found = list(lengths.ahead(iter(groups), workers))
    assert [n.tolist() for n in found] == [[data.length(a) for a in group] for group in groups]
    assert torch.equal(before, torch.get_rng_state())
    data.measured.clear()
    again = [Address(s, i, 7) for s in (0, 1) for i in range(6)]
    assert lengths.of(again).tolist() == [data.length(a) for a in again]
    assert data.measured == [a for a in again if a.source == 1]


@pytest.mark.parametrize('kind', KINDS)
def test_processes_that_measure_ahead_change_nothing(kind):
    assert take(sampler(kind, workers=2), 20) == take(sampler(kind), 20)


def test_the_state_of_another_stream_is_refused():
    state = sampler(PackingSampler).state_dict()
    for other in (
        sampler(PackingSampler, seed=1),
        sampler(PackingSampler, row_length=60),
        sampler(PackingSampler, window=8),
        sampler(LengthGroupedSampler),
    ):
        with pytest.raises(ValueError, match='the stream cannot go on'):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match='the stream cannot go on'):
        sampler(PackingSampler).load_state_dict(MixtureSampler(Data(), 2).state_dict())


def test_rows_that_are_too_short_are_refused():
    for limit in (None, 49):
        data = SimpleNamespace(sizes=[1], quotas=[1], max_seq_len=limit)
        with pytest.raises(ValueError, match='set max_seq_len of the data set to 48 or less'):
            PackingSampler(data, 1, row_length=50)
    stream = sampler(PackingSampler, row_length=LIMIT + 2)
    stream.row_length = 20  # a template whose ends take more than the two tokens that are allowed for
    with pytest.raises(ValueError, match=r'sample \d+ of source \d has \d+ tokens, and a packed row only 20'):
        take(stream, 1)
    for options in (dict(window=0), dict(workers=-1)):
        with pytest.raises(ValueError, match='window must be at least 1 and workers at least 0'):
            sampler(PackingSampler, **options)
    with pytest.raises(ValueError, match='group must be at least 1'):
        sampler(LengthGroupedSampler, group=0)


def test_processes_that_measure_outlive_the_signals_of_a_scheduler():
    before = set(multiprocessing.active_children())
    lengths = Lengths(Data()).ahead(([Address(1, i % 9, i)] for i in range(40)), workers=1)
    first = [next(lengths)]
    (worker,) = set(multiprocessing.active_children()) - before
    for number in (signal.SIGUSR1, signal.SIGTERM):
        os.kill(worker.pid, number)
    found = first + list(lengths)
    assert [int(one[0]) for one in found] == [Data().length(Address(1, i % 9, i)) for i in range(40)]


def test_rows_have_room_for_the_longest_samples_of_every_source():
    def data(own, quota=9):
        entries = [
            SimpleNamespace(source=SimpleNamespace(name='short'), max_seq_len=None, quota=23),
            SimpleNamespace(source=SimpleNamespace(name='long'), max_seq_len=own, quota=quota),
        ]
        return SimpleNamespace(sizes=[23, 9], quotas=[23, quota], max_seq_len=LIMIT, entries=entries)

    for fitting in (data(48), data(20), data(100, quota=0)):
        PackingSampler(fitting, 2, row_length=50)
    with pytest.raises(ValueError, match=r"max_seq_len=49, which the source 'long' sets.* to 48 or less"):
        PackingSampler(data(49), 2, row_length=50)
