"""The digits' pictures, annotated through Syphus, are trained on by the demo's config."""

import json
import os
import subprocess
import sys

import pytest

from mmgpt.data.builders.digit_pictures import load_digit_pictures
from mmgpt.data.builders.digit_tasks import image_id
from tests.inference.rule_server import ROOT, rule_server

pytest.importorskip('openai', reason='pip install openai')
pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]"')
SMALL = ('data_builder.episodes=20', 'data_builder.size=20', 'evaluation=None', 'train_dataloader.batch_size=16')


def run(folder, tool, *arguments, **environment):
    command = [sys.executable, str(ROOT / 'tools' / f'{tool}.py'), *arguments]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **environment}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_output_trains(tmp_path):
    labels = load_digit_pictures().labels[:200]
    path = tmp_path / 'data/syphus_digits/annotations.jsonl'
    path.parent.mkdir(parents=True)
    with path.open('w') as file:
        for index, digit in enumerate(labels):
            note = {'id': image_id(index), 'image_ids': [image_id(index)], 'annotation': f'the digit is a {digit}'}
            file.write(json.dumps(note) + '\n')
    with rule_server(rule='tests.syphus.rules:digits') as address:
        run(tmp_path, 'syphus', str(ROOT / 'configs/syphus/digits.py'), OPENAI_BASE_URL=address)
    data = json.loads((tmp_path / 'work_dirs/syphus/digits/READ_instructions.json').read_text())['data']
    read = [record['answer'] for record in data.values() if record['instruction'] == 'What digit is this?']
    assert read == [str(digit) for digit in labels]
    config = str(ROOT / 'configs/syphus/train/otter_digits.py')
    run(tmp_path, 'train', config, '--work-dir', 'w', '--cfg-options', *SMALL, 'train_cfg.max_iters=30')
    assert (tmp_path / 'w/hf/model.safetensors').is_file()
    (scalars,) = (tmp_path / 'w').glob('*/vis_data/scalars.json')
    losses = [line['loss'] for line in map(json.loads, scalars.read_text().splitlines()) if 'loss' in line]
    assert losses[-1] < losses[0] / 2
