from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.data.samplers import MixtureSampler
from mmgpt.data.source_entry import Blocks


def sampler(sizes, quotas=None, batch_size=1, **options):
    return MixtureSampler(SimpleNamespace(sizes=sizes, quotas=quotas or sizes), batch_size, **options)


def take(stream, batches):
    return [batch for _, batch in zip(range(batches), stream)]


SOURCES = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 14)), min_size=1, max_size=3).filter(
    lambda pairs: sum(quota for _, quota in pairs)
)


@settings(max_examples=80, deadline=None)
@given(pairs=SOURCES, seed=st.integers(0, 99), shuffle=st.booleans())
def test_an_epoch_holds_every_quota_and_sources_are_walked_through_evenly(pairs, seed, shuffle):
    sizes, quotas = map(list, zip(*pairs))
    stream = sampler(sizes, quotas, seed=seed, shuffle=shuffle)
    seen = Counter()
    for epoch in range(3):
        addresses = [stream.address(epoch * sum(quotas) + i) for i in range(sum(quotas))]
        assert [sum(a.source == s for a in addresses) for s in range(len(sizes))] == quotas
        seen.update(addresses)
    assert set(seen.values()) == {1}  # a sample that comes again does so with another epoch: other augmentations
    for source, size in enumerate(sizes):
        times = Counter(a.index for a in seen if a.source == source)
        counts = [times[i] for i in range(size)]
        assert max(counts) - min(counts) <= 1


@settings(max_examples=60, deadline=None)
@given(pairs=SOURCES, batch_size=st.integers(1, 5), position=st.integers(0, 20), seed=st.integers(0, 9))
def test_the_stream_goes_on_exactly(pairs, batch_size, position, seed):
    sizes, quotas = map(list, zip(*pairs))
    whole = take(sampler(sizes, quotas, batch_size, seed=seed), position + 5)
    stream = sampler(sizes, quotas, batch_size, seed=seed)
    take(stream, 3)  # reading ahead does not move the position
    stream.skip(position)
    assert take(stream, 5) == whole[position:]
    resumed = sampler(sizes, quotas, batch_size, seed=seed)
    resumed.load_state_dict(stream.state_dict())
    assert take(resumed, 5) == whole[position:]


@settings(max_examples=40, deadline=None)
@given(pairs=SOURCES, world_size=st.integers(1, 4), batch_size=st.integers(1, 3))
def test_processes_share_one_stream(pairs, world_size, batch_size):
    sizes, quotas = map(list, zip(*pairs))
    single = take(sampler(sizes, quotas, batch_size), 3 * world_size)
    ranks = [take(sampler(sizes, quotas, batch_size, rank=r, world_size=world_size), 3) for r in range(world_size)]
    assert [ranks[i % world_size][i // world_size] for i in range(3 * world_size)] == single


def test_another_number_of_processes_goes_on_where_the_stream_stood():
    two = sampler([50], batch_size=4, rank=1, world_size=2)
    two.skip(3)
    one = sampler([50], batch_size=6)
    one.load_state_dict(two.state_dict())
    assert take(one, 1)[0] == [one.address(i) for i in range(24, 30)]


def test_shuffling():
    epochs = [
        [sampler([40], seed=seed).address(e * 40 + i).index for i in range(40)] for seed in (0, 1) for e in (0, 1)
    ]
    assert all(sorted(epoch) == list(range(40)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    plain = sampler([3, 2], shuffle=False)
    assert [tuple(plain.address(i)) for i in range(6)] == [
        (0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1)
    ]  # fmt: skip


def test_an_epoch_of_many_passes_draws_each_order_once(monkeypatch):
    drawn = []
    order = np.random.Generator.permutation

    class Counted(np.random.Generator):
        def permutation(self, size):
            drawn.append(size)
            return order(self, size)

    monkeypatch.setattr(np.random, 'default_rng', lambda seed: Counted(np.random.PCG64(np.random.SeedSequence(seed))))
    stream = sampler([7, 20], [140, 50])
    for position in range(4 * 190):
        stream.address(position)
    assert drawn.count(190) == 4
    assert drawn.count(7) == 4 * 20
    assert 10 <= drawn.count(20) <= 13  # a pass that two epochs share may be drawn again
    assert sum(map(len, stream._orders.values())) <= 2 + 22 + 5  # and past ones are forgotten


def test_sources_are_mixed():
    stream = sampler([500, 500])
    runs = sum(stream.address(i).source != stream.address(i + 1).source for i in range(999))
    assert 400 < runs < 600


def test_another_stream_is_refused():
    state = sampler([5, 5], seed=1).state_dict()
    for other in (sampler([5, 6], seed=1), sampler([5, 5]), sampler([5, 5], [1, 5], seed=1)):
        with pytest.raises(ValueError, match='the stream cannot go on'):
            other.load_state_dict(state)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(batch_size=0), 'batch_size must be at least 1'),
        (dict(rank=1), 'rank must be one of 0 to 0'),
        (dict(quotas=[0]), 'an epoch would hold no sample'),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        sampler([3], **options)


BLOCKS = st.lists(st.integers(0, 7), min_size=1, max_size=12).filter(any)


@settings(max_examples=80, deadline=None)
@given(sizes=BLOCKS, mixed=st.integers(1, 4), seed=st.integers(0, 99), quota=st.integers(1, 90))
def test_a_source_in_blocks_is_walked_through_evenly_and_goes_on_exactly(sizes, mixed, seed, quota):
    total = sum(sizes)
    data = SimpleNamespace(sizes=[total, 5], quotas=[quota, 4], blocks=[Blocks(np.array(sizes), mixed), None])
    plain = sampler(data.sizes, data.quotas, seed=seed)
    stream = MixtureSampler(data, 1, seed=seed)
    seen = [stream.address(position) for position in range(3 * (quota + 4))]
    assert [a.source for a in seen] == [plain.address(position).source for position in range(3 * (quota + 4))]
    assert [a for a in seen if a.source] == [a for (a,) in take(plain, len(seen)) if a.source]  # others as ever
    drawn = [(a.epoch, a.index) for a in seen if not a.source]
    assert [epoch for epoch, _ in drawn] == [i // total for i in range(3 * quota)]
    assert all(sorted(i for e, i in drawn if e == epoch) == list(range(total)) for epoch in range(3 * quota // total))
    resumed = MixtureSampler(data, 1, seed=seed)
    resumed.load_state_dict({**stream.state_dict(), 'position': len(seen) - 2})
    assert [address for (address,) in take(resumed, 2)] == seen[-2:]
    other = SimpleNamespace(**{**vars(data), 'blocks': [Blocks(np.array(sizes), mixed + 1), None]})
    with pytest.raises(ValueError, match='the stream cannot go on'):
        MixtureSampler(other, 1, seed=seed).load_state_dict(stream.state_dict())


@pytest.mark.parametrize('mixed', [1, 4, 8])
def test_few_blocks_are_in_use_at_a_time_and_they_begin_evenly(mixed):
    size, number = 50, 60
    data = SimpleNamespace(sizes=[size * number, 2000], quotas=[size * number, 2000])
    data.blocks = [Blocks(np.full(number, size), mixed), None]
    stream = MixtureSampler(data, 1, seed=mixed)
    order = [a.index // size for (a,) in take(stream, 5000) if not a.source]
    first = [order.index(block) for block in range(number)]
    last = [len(order) - 1 - order[::-1].index(block) for block in range(number)]
    in_use = [sum(a <= place <= b for a, b in zip(first, last)) for place in range(len(order))]
    assert max(in_use) <= mixed + 2
    assert np.diff(sorted(first)[mixed + 1 :]).max() < 2.5 * size  # not several at once, then none for long
    mates = np.mean([len(set(order[place : place + 16])) for place in range(500, 2500)])
    assert mates > (1.5, 4, 6)[(1, 4, 8).index(mixed)]
    assert order != [a.index // size for (a,) in take(MixtureSampler(data, 1, seed=99), 5000) if not a.source]
