import numpy as np
import pytest

from mmgpt.data.incontext import RelatedInstructions
from mmgpt.structures import Sample

SAMPLE = Sample('q', (), context_ids=tuple('abqcdef'))  # names itself, which would show the answer
OTHERS = list('abcdef')


def rng(seed=0):
    return np.random.default_rng(seed)


def test_all_first_last():
    assert RelatedInstructions()(SAMPLE, rng()) == OTHERS
    assert RelatedInstructions(2, 'first')(SAMPLE, rng()) == ['a', 'b']
    assert RelatedInstructions(2, 'last')(SAMPLE, rng()) == ['e', 'f']
    assert RelatedInstructions(0, 'last')(SAMPLE, rng()) == []
    assert RelatedInstructions(9, 'last')(SAMPLE, rng()) == OTHERS
    assert RelatedInstructions(3)(Sample('q', ()), rng()) == []


def test_random_ones_keep_their_order_and_are_all_met():
    picks = [RelatedInstructions((1, 3))(SAMPLE, rng(seed)) for seed in range(200)]
    assert all(pick == sorted(set(pick)) for pick in picks)
    assert {len(pick) for pick in picks} == {1, 2, 3}
    assert set().union(*picks) == set(OTHERS)


def test_the_same_generator_gives_the_same_pick():
    retriever = RelatedInstructions((0, 4))
    assert [retriever(SAMPLE, rng(s)) for s in range(20)] == [retriever(SAMPLE, rng(s)) for s in range(20)]


@pytest.mark.parametrize('num', [-1, (2, 1), (1, 2, 3), (-1, 2)])
def test_a_wrong_number(num):
    with pytest.raises(ValueError, match='num must be'):
        RelatedInstructions(num)


def test_a_wrong_pick():
    with pytest.raises(ValueError, match='pick must be'):
        RelatedInstructions(1, 'best')
