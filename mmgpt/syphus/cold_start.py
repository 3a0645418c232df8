"""The prompts of a run: those of the task, or the newest version that people have made in the cold start."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path

from mmgpt.syphus.prompt import Prompt, prompt_file, read_prompt
from mmgpt.syphus.tasks import Task

FOLDER = 'cold_start'


def current_prompts(task: Task, folder: Path) -> tuple[dict[str, Prompt], dict[str, str]]:
    """The prompt of each part of a task, and where it comes from."""
    prompts, sources = {}, {}
    for part in task.parts:
        found = versions(folder, part)
        if found:
            prompts[part], sources[part] = read_prompt(found[-1]), f'cold start, {found[-1].name}'
        else:
            prompts[part], sources[part] = task.prompt(part), 'prompt file'
    return prompts, sources


def versions(folder: Path, part: str) -> list[Path]:
    """The versions of a part's prompt that were saved, the oldest first."""
    pattern = re.compile(rf'{re.escape(part or "prompt")}_v(\d{{3,}})\.json')
    place = folder / FOLDER
    found = [(int(m[1]), path) for path in place.glob('*.json') if (m := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def save_version(folder: Path, part: str, prompt: Prompt, items: list[str], model: str) -> Path:
    """Saves a prompt as the newest version; none is ever overwritten.

    Args:
        folder: the work dir.
        part: of the task.
        prompt: with the accepted examples.
        items: the ids of their items.
        model: that wrote the drafts.

    Returns:
        the file.
    """
    before = versions(folder, part)
    number = int(re.search(r'_v(\d+)', before[-1].name)[1]) + 1 if before else 1
    path = folder / FOLDER / f'{part or "prompt"}_v{number:03d}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    time = datetime.now(UTC).isoformat(timespec='seconds')
    told = prompt_file(
        prompt, version=number, after=before[-1].name if before else None, time=time, items=items, model=model
    )
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')  # two pages at once do not share a file
    try:
        partial.write_text(json.dumps(told, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')
        path.touch(exist_ok=False)  # nor a number
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
