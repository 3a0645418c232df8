"""Published figures stand beside one's own, with their metric where it is not the task's main one."""

from __future__ import annotations

from mmgpt.evaluation.figures import table
from mmgpt.evaluation.published import beside, label, rows


def test_each_row_is_whole():
    for row in rows():
        assert row['source']
        assert all(int(shots) >= 0 and isinstance(value, float) for shots, value in row['figures'].items()), row
        assert set(row.get('stddev', {})) <= set(row['figures'])


def test_rows_of_other_metrics_say_so():
    assert label(beside('coco')[0], 'CIDEr') == 'OpenFlamingo-9B, random'
    metrics = {
        'task': 'mme',
        'main': 'total',
        'rows': [{'shots': 0, 'trials': [1500.0], 'figures': {'total': [1500.0]}}],
        'published': beside('mme'),
    }
    told = table(metrics)
    assert 'Otter-Image, perception      1525.8' in told
    assert 'Otter-Image, cognition       332.5' in told
    assert 'Otter, tuned with 2, as printe      1227.7' in told  # cut to the column
