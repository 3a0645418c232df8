from __future__ import annotations

import numpy as np
import pytest

from mmgpt.evaluation.metrics import ROCAUC

sklearn = pytest.importorskip('sklearn.metrics', reason='pip install "mmgpt[demo]"')


@pytest.mark.parametrize('seed', range(20))
def test_it_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=50)
    labels[:2] = 0, 1
    scores = rng.integers(8, size=50) / 7 if seed % 2 else rng.normal(size=50)  # with and without equal ones
    assert ROCAUC()(scores, labels)[0]['ROC-AUC'] / 100 == pytest.approx(
        sklearn.roc_auc_score(labels, scores), abs=1e-12
    )


def test_one_class_alone_is_an_error():
    with pytest.raises(ValueError, match='got 2 of class 1 and 0 of class 0'):
        ROCAUC()([0.1, 0.2], [1, 1])
