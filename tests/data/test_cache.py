import logging

import pytest

from mmgpt.data.cache import cached


@pytest.fixture
def file(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'x.json').write_text('{}')
    return tmp_path / 'data' / 'x.json'


def make(text):
    return lambda folder: (folder / 'made').write_text(text)


def read(file, text, parameters=None):
    return (cached('index', [file], make(text), parameters) / 'made').read_text()


def test_it_is_made_once_and_announced(file, caplog):
    with caplog.at_level(logging.WARNING):
        assert read(file, 'first') == 'first'
        assert 'x.json: its index is made once' in caplog.text
        assert 'x.json: its index takes 0.0 MB' in caplog.text
        caplog.clear()
        assert read(file, 'second') == 'first'
        assert not caplog.records


def test_it_is_made_anew_for_other_contents_and_parameters(file):
    read(file, 'first')
    assert read(file, 'second', {'k': 2}) == 'second'
    assert read(file, 'third') == 'first'
    file.write_text('{"other": 1}')
    assert read(file, 'fourth') == 'fourth'
    assert len([p for p in (file.parent / '.mmgpt').iterdir() if p.is_dir()]) == 2  # one of each parameter


def test_what_failed_leaves_nothing(file):
    def fail(folder):
        (folder / 'half').write_text('')
        raise ValueError('damaged')

    with pytest.raises(ValueError, match='damaged'):
        cached('index', [file], fail)
    assert not [path for path in (file.parent / '.mmgpt').iterdir() if path.is_dir()]
    assert read(file, 'whole') == 'whole'


def test_a_folder_can_be_chosen(file, tmp_path, monkeypatch):
    monkeypatch.setenv('MMGPT_CACHE', str(tmp_path / 'chosen'))
    read(file, 'first')
    assert not (file.parent / '.mmgpt').exists()
    assert list((tmp_path / 'chosen').glob('*/x.json.index-*'))
