"""The commands that docs/data_sets.md names can be typed."""

import re
import shlex
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).parents[2] / 'docs' / 'data_sets.md'


def commands() -> list[list[str]]:
    text = PAGE.read_text(encoding='utf-8')
    found = re.findall(r'`((?:python tools/dataset_converters/)?\w+\.py [^`…]+)`', text)
    for block in re.findall(r'```bash\n(.*?)```', text, re.DOTALL):
        found += block.replace('\\\n', ' ').splitlines()
    return [shlex.split(command) for command in found]


def test_each_command_is_understood():
    understood = set()
    for words in commands():
        words = words[1:] if words[0] in ('python', 'mmgpt') else words
        name = Path(words[0]).stem
        if name == 'train':
            continue
        folder = 'tools' if (PAGE.parents[1] / 'tools' / f'{name}.py').is_file() else 'tools.dataset_converters'
        import_module(f'{folder}.{name}').parse(words[1:])  # exits where it is not
        understood.add(name if name != 'mimicit' else words[1])
    assert understood >= {
        'verify_dataset', 'browse_dataset', 'to_datasets', 'images_to_parquet', 'mmc4', 'build_train_json', 'llava',
        'extract_features', 'spot-the-diff', 'coco-difference', 'scannet', 'activitynet', 'vist', 'tvc', 'ego4d',
    }  # fmt: skip
