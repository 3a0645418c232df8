import json
from pathlib import Path

import pytest

from tests.data import planting
from tools import verify_dataset


@pytest.fixture(scope='module')
def sick(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sick')
    planting.write(planting.planted(), folder / 'data')
    return folder


def one_source(folder, tokenizer, *more):
    ann, images = str(folder / 'llava.json'), str(folder / 'pictures')
    source = ['--source', 'llava_dial', '--ann', ann, '--images', images]
    return verify_dataset.main([*source, '--template', 'otter', '--tokenizer', str(tokenizer), '--jobs', '1', *more])


def test_a_config_with_faults(sick, llama_tokenizer_dir, capsys):
    config = sick / 'config.py'
    config.write_text(planting.config(sick / 'data', llama_tokenizer_dir))
    report = sick / 'report.json'
    assert verify_dataset.main([str(config), '--jobs', '1', '--json', str(report)]) == 1
    found = json.loads(report.read_text())
    assert set(found) == {'samples', 'errors', 'warnings', 'findings', 'answer_lengths'}
    assert found['errors'] + found['warnings'] == len(found['findings'])
    assert found['errors'] >= 60
    assert set(found['findings'][0]) == {'kind', 'severity', 'file', 'line', 'id', 'message', 'fix'}
    shown = capsys.readouterr().out
    assert f'{found["errors"]} errors' in shown
    assert 'AA_INS_013' in shown


def test_one_source_is_repaired(sick, llama_tokenizer_dir, tmp_path, capsys):
    well = tmp_path / 'well'
    limit = ('--max-seq-len', '120')
    assert one_source(sick / 'data', llama_tokenizer_dir, *limit, '--fix', str(well)) == 1
    assert len(json.loads((well / 'llava.json').read_text())) == 30 - 10
    assert one_source(well, llama_tokenizer_dir, *limit) == 0
    assert '0 errors, 0 warnings' in capsys.readouterr().out
    assert one_source(sick / 'data', llama_tokenizer_dir, '--fix', str(well)) == 2  # it is there
    assert 'there already' in capsys.readouterr().err


def test_pictures_that_nobody_told_of(tmp_path, llama_tokenizer_dir, capsys):
    path = tmp_path / 'vqa.json'
    path.write_text(json.dumps([{'question': 'What?', 'answer': ['it is'], 'image': 'a.jpg', 'question_id': 5}]))
    named = ['--ann', str(path), '--template', 'Otter', '--tokenizer', str(llama_tokenizer_dir)]
    assert verify_dataset.main(['--source', 'vqa', *named, '--jobs', '1']) == 1
    assert f'error missing_image {path}:1 [5]' in capsys.readouterr().out


def test_a_training_data_file(sick, llama_tokenizer_dir, tmp_path, capsys):
    planting.write(planting.clean(), tmp_path)
    path = tmp_path / 'train.yaml'
    paths = f'mimicit_path: {tmp_path}/AA_instructions.json, images_path: {tmp_path}/AA.json'
    path.write_text(f'IMAGE_TEXT_IN_CONTEXT:\n  AA: {{{paths}, train_config_path: {tmp_path}/AA_train.json}}\n')
    assert verify_dataset.main([str(path), '--tokenizer', str(llama_tokenizer_dir)]) == 0
    assert '59 samples, 0 errors' in capsys.readouterr().out
    assert verify_dataset.main([str(path)]) == 2
    assert '--tokenizer' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'--source': 'lava'}, "did you mean 'llava'"),
        ({'--template': 'Oter'}, "did you mean 'Otter'"),
        ({'--ann': 'nowhere.json'}, 'nowhere.json'),
        ({'--tokenizer': 'nowhere'}, 'no tokenizer'),
    ],
)
def test_what_is_not_there_is_told(sick, llama_tokenizer_dir, capsys, change, message):
    args = {
        '--source': 'llava',
        '--ann': str(sick / 'data' / 'llava.json'),
        '--template': 'Otter',
        '--tokenizer': str(llama_tokenizer_dir),
        **change,
    }
    assert verify_dataset.main([part for pair in args.items() for part in pair]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith('verify_dataset: ')
    assert 'Traceback' not in error


def test_a_config_whose_data_is_still_to_be_made(tmp_path, monkeypatch, capsys):
    config = str(Path('configs/otter_demo.py').resolve())
    monkeypatch.chdir(tmp_path)
    assert verify_dataset.main([config]) == 2
    assert 'has not yet made data/otter_demo' in capsys.readouterr().err


def test_bad_usage():
    for argv in ([], ['config.py', '--source', 'llava'], ['--source', 'llava'], ['config.py', '--jobs', '0']):
        with pytest.raises(SystemExit) as end:
            verify_dataset.parse(argv)
        assert end.value.code == 2
