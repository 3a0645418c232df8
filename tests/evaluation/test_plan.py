"""Batches: each prompt once, no more batches than needed, of one length where so many are."""

from __future__ import annotations

import random

import pytest

from mmgpt.evaluation import Item, Prompt
from mmgpt.evaluation.plan import plan_batches


@pytest.mark.parametrize('seed', range(20))
def test_whole_batches_of_one_length_come_first_to_be_made(seed):
    rng = random.Random(seed)
    count, size = rng.randint(1, 60), rng.randint(1, 8)
    prompts = [Prompt((), Item(number)) for number in range(count)]
    lengths = [rng.choice([5, 6, 9]) for _ in prompts]
    batches = plan_batches(prompts, lengths, size)
    assert sorted(place for batch in batches for place in batch) == list(range(count))
    assert len(batches) == -(-count // size)
    one_length = sum(len({lengths[place] for place in batch}) == 1 and len(batch) == size for batch in batches)
    assert one_length >= sum(lengths.count(length) // size for length in set(lengths))
    longest = [lengths[batch[0]] for batch in batches]
    assert longest == sorted(longest, reverse=True)


def test_those_with_the_same_demonstrations_are_never_padded():
    shown = (Item(100, answer='a'),)
    prompts = [Prompt(shown, Item(number)) for number in range(9)]
    lengths = [5, 6, 5, 6, 5, 6, 5, 6, 7]
    for batch in plan_batches(prompts, lengths, 3):
        assert len({lengths[place] for place in batch}) == 1
