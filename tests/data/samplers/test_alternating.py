"""Batches with and without pictures in turn."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.data.samplers import AlternatingSampler, MixtureSampler

DATA = SimpleNamespace(sizes=[5, 3, 4], quotas=[5, 3, 8], visual=[True, False, True])


def sampler(batch_size=2, **options):
    return AlternatingSampler(DATA, batch_size, **options)


def take(stream, batches):
    return [batch for _, batch in zip(range(batches), stream)]


def test_kinds_take_turns_and_an_epoch_ends_with_the_pictures():
    stream = sampler(batch_size=1)
    batches = take(stream, 26)
    assert stream.epoch_size == stream.batches_per_epoch == 26
    assert [address.source == 1 for (address,) in batches] == [False, True] * 13
    shown = [address for (address,) in batches[::2]]
    assert [sum(address.source == source for address in shown) for source in (0, 2)] == [5, 8]


def test_each_half_is_the_mixture_of_its_sources():
    alone = MixtureSampler(SimpleNamespace(sizes=DATA.sizes, quotas=[5, 0, 8]), 2, seed=3)
    assert take(sampler(seed=3), 12)[::2] == take(alone, 6)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 9), more=st.integers(0, 5), seed=st.integers(0, 9))
def test_the_stream_goes_on_exactly(position, more, seed):
    whole = take(sampler(seed=seed), position + more + 5)
    stream = sampler(seed=seed)
    stream.skip(position)
    resumed = sampler(seed=seed)
    resumed.load_state_dict(stream.state_dict())
    resumed.skip(more)
    assert take(stream, 5) == whole[position : position + 5]
    assert take(resumed, 5) == whole[position + more :]
    assert stream.position == 2 * position


def test_processes_share_one_stream_and_have_the_same_kind_at_a_time():
    ranks = [take(sampler(batch_size=1, rank=rank, world_size=2), 8) for rank in (0, 1)]
    assert [[a, b] for (a,), (b,) in zip(*ranks, strict=True)] == take(sampler(batch_size=2), 8)


def test_goes_on_with_another_number_of_processes():
    two = sampler(batch_size=1, rank=1, world_size=2)
    two.skip(5)
    one = sampler(batch_size=2)
    one.load_state_dict(two.state_dict())
    assert take(one, 4) == take(sampler(batch_size=2), 9)[5:]


def test_one_kind_alone_is_refused():
    for visual, missing in ([True, True], 'without pictures'), ([False, False], 'with pictures'):
        with pytest.raises(ValueError, match=f'needs sources {missing} too: add one, or use MixtureSampler'):
            AlternatingSampler(SimpleNamespace(sizes=[1, 1], quotas=[1, 1], visual=visual), 1)


def test_the_state_of_another_stream_is_refused():
    with pytest.raises(ValueError, match='the stream cannot go on'):
        sampler().load_state_dict(MixtureSampler(DATA, 2).state_dict())
    with pytest.raises(ValueError, match='the stream cannot go on'):
        sampler(seed=1).load_state_dict(sampler().state_dict())
