"""Items made ahead are those of the stream, in its order."""

from __future__ import annotations

import threading

import pytest

from mmgpt.engine.prefetch import made_ahead


def test_items_order_and_end_are_those_of_the_stream():
    with made_ahead(iter(range(50)), count=3) as items:
        assert list(items) == list(range(50))


def test_no_more_than_asked_for_are_made_ahead():
    made, enough = [], threading.Event()

    def stream():
        for number in range(100):
            made.append(number)
            if number == 4:
                enough.set()
            yield number

    with made_ahead(stream(), count=2) as items:
        assert [next(items), next(items)] == [0, 1]
        assert enough.wait(10)  # two taken, two waiting, and one in the hand
        assert made == [0, 1, 2, 3, 4]


def test_what_the_stream_raises_is_raised_where_it_is_asked_for():
    def stream():
        yield 1
        raise ValueError('a broken picture')

    with made_ahead(stream()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match='a broken picture'):
            next(items)


def test_leaving_ends_the_thread_also_where_training_fails():
    with pytest.raises(KeyError), made_ahead(iter(int, 1)):
        raise KeyError
    assert not any(thread.name == 'makes batches' for thread in threading.enumerate())
