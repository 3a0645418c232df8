"""The commands that the pages of documentation name can be typed, and the configs they name are there."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
FOLDERS = ('tools', 'tools/analysis_tools', 'tools/dataset_converters')


def commands(page: Path) -> list[list[str]]:
    """Commands of a tool, as words from the tool on; those with an ellipsis or one option alone are no whole ones."""
    text = page.read_text(encoding='utf-8')
    blocks = re.findall(r'```(?:bash|console)\n(.*?)```', text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    prose = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    lines += [line.replace('\n', ' ') for line in re.findall(r'`([^`]+)`', prose)]
    found = []
    for line in lines:
        match = re.match(r'(?:\$ )?(?:\w+=\S+ )*(?:srun )?(?:python |mmgpt )?([\w/]+(?:\.py)?) (?!--\S+$)(.+)', line)
        if match and '…' not in line and ('mmgpt ' in line or '.py ' in line) and tool(match[1]):
            found.append([match[1], *shlex.split(match[2].partition(' && ')[0], comments=True)])
    return found


def tool(name: str) -> str | None:
    """The module of a tool that is called as mmgpt, python or a table calls it; None: it is no tool."""
    stem = Path(name).stem
    return next((f'{f}/{stem}'.replace('/', '.') for f in FOLDERS if (ROOT / f / f'{stem}.py').is_file()), None)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_each_command_is_understood(page):
    for name, *words in commands(page):
        import_module(tool(name)).parse(words)  # exits where it is not
        missing = [word for word in words if word.startswith('configs/') and not (ROOT / word).is_file()]
        assert not missing, (name, words)


def test_the_commands_are_found():
    understood = set()
    for page in PAGES:
        for name, *words in commands(page):
            understood.add(words[0] if Path(name).stem in ('mimicit', 'convert') else Path(name).stem)
    assert understood >= {
        'train', 'test', 'chat', 'infer', 'serve', 'push', 'syphus', 'print_config', 'verify_dataset', 'browse_dataset',
        'to_datasets', 'images_to_parquet', 'mmc4', 'build_train_json', 'llava', 'extract_features', 'spot-the-diff',
        'coco-difference', 'scannet', 'activitynet', 'vist', 'tvc', 'ego4d', 'probe_context', 'report_evaluation',
        'plan_memory', 'analyze_logs', 'rate_battles', 'list_decoders', 'openflamingo', 'export-otter', 'consolidate',
        'compose', 'verify',
    }  # fmt: skip
