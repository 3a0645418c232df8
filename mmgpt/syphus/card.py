"""The data card of a generated set."""

from __future__ import annotations

from datetime import date
from typing import Any


def data_card(summary: dict[str, Any], statistics: dict[str, Any], run: dict[str, Any]) -> str:
    """A data card in Markdown, with the header that the Hugging Face hub reads.

    Args:
        summary: of the run, as ``summary.json`` has it.
        statistics: see :func:`~mmgpt.syphus.statistics.statistics`.
        run: ``name``, ``task``, ``model``, ``prompts`` (part -> hash), ``form``, ``sampling``, ``filters`` (name ->
            explanation), ``input``, ``sources`` (part -> where its examples come from).
    """
    languages = [code for code, counts in statistics['languages'].items() if counts['kept']]
    header = [
        '---',
        'language:',
        *(f'- {code}' for code in languages),
        'task_categories:',
        '- visual-question-answering',
    ]
    header += ['tags:', '- synthetic', '- mimic-it', f'pretty_name: {run["name"]}', '---']
    lines = [
        *header,
        f'# {run["name"]}: instructions and answers made by Syphus',
        '',
        f'{summary["kept"]:,} pairs on {summary["items"]:,} items of `{run["input"]}`, made by `{run["model"]}` on '
        f'{date.today().isoformat()} from visual annotations (MIMIC-IT, arXiv 2306.05425, section 3.2). The texts are '
        'synthetic: no person has checked them one by one.',
        '',
        '## Files',
        '',
        *_table(('file', 'pairs'), ((f'`{name}_instructions.json`', n) for name, n in run['files'].items())),
        '',
        '## What is in it',
        '',
        *_table(('capability', 'pairs'), statistics['capabilities'].items()),
        '',
        *_table(('task', 'subset', 'pairs'), ((run['task'], name, n) for name, n in statistics['files'].items())),
        '',
        *_table(
            ('language', 'pairs', 'translations dropped'),
            (
                (code, counts['kept'], ', '.join(f'{n} {name}' for name, n in counts['dropped'].items()) or '0')
                for code, counts in statistics['languages'].items()
            ),
        ),
        '',
        f'{statistics["unique_instructions"]:,} instructions are different. Capabilities are told by the words of the '
        'instructions.',
        '',
        '## How it was made',
        '',
        *_table(
            ('', ''),
            [
                ('model', f'`{run["model"]}`'),
                ('sampling', f'`{run["sampling"]}`'),
                ('form of replies', run['form']),
                *(
                    (f'prompt {part}'.rstrip(), f'`{digest}` ({run["sources"][part]})')
                    for part, digest in run['prompts'].items()
                ),
                ('replies', f'{summary["replies"]:,}'),
                ('tokens', f'{summary["prompt_tokens"]:,} of prompts and {summary["completion_tokens"]:,} of replies'),
                ('cost', f'{summary["cost"]:.2f}'),
            ],
        ),
        '',
        '## What was left out',
        '',
        f'{summary["rejected"]:,} of {summary["asked"]:,} requests on items gave no pair that could be read, '
        f'{summary["failed"]:,} were not answered.',
        '',
        *_table(
            ('filter', 'dropped', 'what it drops'),
            ((name, summary['dropped'].get(name, 0), told) for name, told in run['filters'].items()),
        ),
        '',
        'All of it stands in `rejected.jsonl` with its reasons.',
        '',
    ]
    return '\n'.join(lines)


def _table(head: tuple[str, ...], rows: Any) -> list[str]:
    told = [[f'{cell:,}' if isinstance(cell, int) else str(cell).replace('|', '\\|') for cell in row] for row in rows]
    return ['| ' + ' | '.join(row) + ' |' for row in (head, ['---'] * len(head), *told)]
