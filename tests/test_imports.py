"""What importing mmgpt does to the process that imports it, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def told(program: str) -> str:
    """What a fresh Python prints."""
    run = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.mark.parametrize('collects', [True, False])
def test_garbage_is_collected_after_it_as_before(collects):
    before = 'enable' if collects else 'disable'
    found = told(f'import gc; gc.{before}(); import mmgpt; print(gc.isenabled(), gc.get_freeze_count())')
    assert found == f'{collects} 0'


def test_libraries_that_one_part_needs_come_with_that_part():
    program = """
import sys
import mmgpt.data, mmgpt.engine.runner, mmgpt.inference, mmgpt.registry
print([name for name in ('open_clip', 'timm', 'wandb', 'matplotlib', 'fastapi', 'sklearn') if name in sys.modules])
vision = dict(image_size=32, layers=1, width=16, head_width=8, patch_size=8)
mmgpt.registry.VISION_ENCODERS.build(dict(type='OpenClipVision', architecture=dict(embed_dim=16, vision_cfg=vision)))
print('open_clip' in sys.modules)
"""
    assert told(program).splitlines() == ['[]', 'True']


def test_a_config_of_an_evaluation_alone_knows_the_visualizers(tmp_path):
    config = tmp_path / 'config.py'
    bases = [str(ROOT / 'configs' / name) for name in ('_base_/runtime.py', 'eval/digit_naming.py')]
    config.write_text(f'_base_ = {bases}')
    program = f'from mmgpt.engine.config import load_config; print(load_config({str(config)!r}).visualizer.type)'
    assert told(program) == 'Visualizer'


def test_a_tool_keeps_what_was_imported_out_of_the_collection():
    program = """
import gc
from mmgpt.engine.console import start_tool
start_tool()
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    assert told(program) == 'True True'
