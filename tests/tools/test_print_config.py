"""A config as training sees it."""

from __future__ import annotations

from pathlib import Path

from tests.engine.project import write_project
from tools import print_config

CONFIGS = Path(__file__).parents[2] / 'configs'


def test_changes_are_in_what_is_printed(tmp_path, capsys):
    config = str(write_project(tmp_path))
    assert print_config.main([config, '--cfg-options', 'randomness.seed=7', 'work_dir=a  b']) == 0
    printed: dict = {}
    exec(capsys.readouterr().out, printed)
    assert printed['randomness'] == {'seed': 7}
    assert printed['work_dir'] == 'a  b'


def test_what_is_printed_is_a_config_again(tmp_path, capsys):
    config = tmp_path / 'demo.py'
    assert print_config.main([str(CONFIGS / 'otter_demo.py')]) == 0
    config.write_text(printed := capsys.readouterr().out)
    assert print_config.main([str(config)]) == 0
    assert capsys.readouterr().out == printed


def test_faults_are_printed_instead(tmp_path, capsys):
    config = str(write_project(tmp_path, replacements={'num_latents': 'num_latnets'}))
    assert print_config.main([config]) == 1
    assert "did you mean 'num_latents'" in capsys.readouterr().err
    assert print_config.main([config, '--no-check']) == 0
    assert print_config.main([config, '--cfg-options', 'novalue']) == 2
    assert print_config.main([str(tmp_path / 'nothing.py')]) == 2
