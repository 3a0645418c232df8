"""Documents of Multimodal C4 and their pictures become tars that the source reads."""

from __future__ import annotations

import json
import zipfile

import pytest

from mmgpt.data.sources import Mmc4
from tools.dataset_converters import mmc4


@pytest.fixture
def documents(tmp_path, make_picture):
    """Three pages of two pictures each, of which the last one's could not be fetched."""
    (tmp_path / 'images').mkdir()
    lines = []
    for page in range(3):
        names = [f'{page}_{n}.png' for n in range(2)]
        for n, name in enumerate(names):
            if page < 2:
                (tmp_path / 'images' / name).write_bytes(make_picture(page * 2 + n, size=64))
        infos = [{'image_name': name, 'matched_text_index': 0, 'matched_sim': 0.3} for name in names]
        similarity = [[0.5, 0.1], [0.1, 0.5]]
        lines.append({'url': 'u', 'text_list': ['A', 'B'], 'image_info': infos, 'similarity_matrix': similarity})
    path = tmp_path / 'docs_shard_7_v2.jsonl.zip'
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('docs_shard_7_v2.jsonl', '\n'.join(map(json.dumps, lines)))
    return path


def test_pages_with_their_pictures(documents, tmp_path, capsys):
    out = tmp_path / 'mmc4'
    arguments = [str(documents), '--images', str(tmp_path / 'images'), '--out', str(out), '--pages-per-tar', '2']
    assert mmc4.main(arguments) == 0
    assert 'does not have 2 of 6 pictures' in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ['docs_shard_7_v2_000.tar', 'docs_shard_7_v2_001.tar']
    source = Mmc4(out, min_bytes=0)
    assert len(source) == 3
    assert source[1].id == 'docs_shard_7_v2_000/00000002'
    assert [turn.text for turn in source[1].turns] == ['', '', 'A', '', 'B']
    with pytest.raises(ValueError, match='no picture'):
        source[2]
    (out / 'docs_shard_7_v2_001.tar').unlink()
    assert mmc4.main(arguments) == 0
    assert 'docs_shard_7_v2_001.tar: 1 records' in capsys.readouterr().out  # and the other one was kept
    documents.write_bytes(b'no zip')
    assert mmc4.main(arguments) == 2


def test_documents_keep_their_whole_names(tmp_path, capsys):
    page = {'text_list': ['A'], 'image_info': [], 'similarity_matrix': []}
    for name in ('shard.0.jsonl', 'shard.1.jsonl', 'more/shard.1.jsonl'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(page))
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'a.png').write_bytes(b'')
    options = ['--images', str(tmp_path / 'images'), '--out', str(tmp_path / 'out')]
    files = [str(tmp_path / name) for name in ('shard.0.jsonl', 'shard.1.jsonl')]
    assert mmc4.main([*files, *options]) == 0
    tars = ['shard.0_000.tar', 'shard.1_000.tar']
    assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == tars
    assert mmc4.main([*files, str(tmp_path / 'more' / 'shard.1.jsonl'), *options]) == 2
    assert 'more/shard.1.jsonl would both be written to shard.1_000.tar' in capsys.readouterr().err
