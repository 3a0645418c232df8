"""Questions shared over processes: each is asked once, and all know all answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mmengine.dist import get_rank

from mmgpt.engine.tasks import run_task
from mmgpt.evaluation.shares import in_shares
from tests.engine.processes import in_processes

ITEMS = list(range(11))


@pytest.mark.parametrize('processes', [1, 2, 3])
def test_every_item_is_answered_once_in_the_batches_of_one_process(processes):
    def share() -> Any:
        asked = []

        def square(batch: list[int]) -> list[int]:
            asked.append(batch)
            return [item**2 for item in batch]

        return in_shares(ITEMS, square, batch_size=2), asked

    results = in_processes(share, processes) if processes > 1 else [share()]
    assert all(answers == [item**2 for item in ITEMS] for answers, _ in results)
    batches = [batch for _, asked in results for batch in asked]
    assert sorted(batches) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]
    assert all(asked for _, asked in results)


def test_nothing_to_ask_and_more_processes_than_questions():
    assert in_shares([], list) == []
    assert in_processes(lambda: in_shares('a', list, batch_size=4), 2) == [['a'], ['a']]


def test_a_lost_answer_is_an_error():
    with pytest.raises(ValueError, match='2 items were asked, 1 answers came'):
        in_shares('ab', lambda batch: batch[:1], batch_size=2)


class Task:
    """Knows nothing of processes but that it shares its questions."""

    def __call__(self, model, processor, out, limit=None):
        answers = in_shares(ITEMS[:limit], lambda batch: [f'{model} {item}' for item in batch])
        print('asked', len(answers))
        (out / 'predictions.jsonl').write_text(json.dumps(answers))
        return {'asked': len(answers), 'rank': get_rank()}


def test_of_a_task_on_two_processes_one_writes_and_speaks(tmp_path, capfd):
    results = in_processes(lambda: run_task(Task(), 'model', None, tmp_path, limit=5), 2)
    assert results == [{'asked': 5, 'rank': 0}, {'asked': 5, 'rank': 1}]
    assert json.loads((tmp_path / 'predictions.jsonl').read_text()) == [f'model {item}' for item in range(5)]
    assert [path.name for path in tmp_path.iterdir()] == ['predictions.jsonl']
    assert capfd.readouterr().out.count('asked 5') == 1
