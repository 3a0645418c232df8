"""What several tests of the data share."""

from pathlib import Path

import pytest


@pytest.fixture(scope='session')
def digits_files(tmp_path_factory) -> Path:
    """The files of the digits demo, with few episodes and small pictures."""
    pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]" brings scikit-learn')
    from mmgpt.data.builders import DigitsBuilder

    folder = tmp_path_factory.mktemp('digits') / 'data'
    DigitsBuilder(folder, seed=0, episodes=150, size=40).build()
    return folder
