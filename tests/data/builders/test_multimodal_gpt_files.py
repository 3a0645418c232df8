from pathlib import Path

from mmgpt.data.builders import MultiModalGPTFiles


def test_it_names_the_files_makes_none_and_says_how_to_get_each(tmp_path):
    builder = MultiModalGPTFiles(tmp_path / 'data')
    names = {path.relative_to(tmp_path / 'data').as_posix() for path in builder.files()}
    assert {'llava/detail_23k.json', 'coco/train2017', 'baize/quora_chat_data.json'} <= names
    assert builder.is_built()
    builder.build()
    assert not list(tmp_path.iterdir())
    for path in builder.files():
        assert '{folder}' not in builder.how_to_get(path)
    assert 'no file of MultiModal-GPT' in builder.how_to_get(tmp_path / 'data/x')
    assert 'into data/baize' in MultiModalGPTFiles().how_to_get(Path('data/baize/quora_chat_data.json'))
