"""A project as a user would have it: items, a config, and the tool run on them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.inference.rule_server import ROOT
from tests.syphus.rules import note

CONFIG = """
input = '{folder}/items.jsonl'
task = dict(type='DenseCaptions')
endpoint = dict(model='rule', concurrency={concurrency}, timeout=5, price=dict(input=1.0, output=2.0))
translation = {translation}
"""


def write_project(
    folder: Path, items: int, languages: tuple[str, ...] = (), concurrency: int = 32, more: str = ''
) -> Path:
    """Items and a config; gives the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / 'items.jsonl').open('w') as file:
        for number in range(items):
            images = [f'DC_IMG_v_{number}_{frame:04d}' for frame in range(2)]
            file.write(json.dumps({'id': f'v{number}', 'image_ids': images, 'annotation': note(number)}) + '\n')
    translation = f'dict(languages={list(languages)})' if languages else 'None'
    text = CONFIG.format(folder=folder, concurrency=concurrency, translation=translation) + more
    (folder / 'config.py').write_text(text)
    return folder / 'config.py'


def tool(config: Path, work_dir: Path, address: str, *options: str) -> subprocess.Popen:
    """The tool in a process of its own."""
    command = [sys.executable, str(ROOT / 'tools/syphus.py'), str(config), '--work-dir', str(work_dir), *options]
    environment = {**os.environ, 'OPENAI_BASE_URL': address, 'PYTHONPATH': str(ROOT), 'OPENAI_API_KEY': ''}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def product(work_dir: Path) -> dict[str, str]:
    """What a run made, without what tells when and how often was asked, the day included."""
    made = {}
    for path in sorted(work_dir.glob('*.json*')):
        if path.name == 'summary.json':
            summary = json.loads(path.read_text())
            told = ('requests', 'cached', 'faults', 'replies', 'tokens', 'cost', 'prompt_tokens', 'completion_tokens')
            made[path.name] = json.dumps({name: value for name, value in summary.items() if name not in told})
        else:
            made[path.name] = re.sub(r'"time": ?"\d{4}-\d\d-\d\d"', '', path.read_text())
    return made


def accounted(work_dir: Path, items: int) -> None:
    """Every item became data or stands among the rejected, exactly once."""
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert summary['items'] == summary['asked'] == items
    assert summary['answered'] + summary['rejected'] + summary['failed'] == items
    assert summary['pairs'] == summary['kept'] + sum(summary['dropped'].values())
    data = json.loads((work_dir / 'DC_instructions.json').read_text())['data']
    rejected = [json.loads(line) for line in (work_dir / 'rejected.jsonl').read_text().splitlines()]
    assert len(data) == summary['kept']
    assert sum(line['stage'] == 'filter' for line in rejected) == sum(summary['dropped'].values())
    assert sum(line['stage'] == 'parse' for line in rejected) == summary['fragments']
    seen = {record['image_ids'][0].split('_')[3] for record in data.values()}
    lost = {line['id'][1:] for line in rejected}
    assert seen | lost == {str(number) for number in range(items)}
