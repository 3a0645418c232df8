"""The console command ``mmgpt``: runs the tool that its first argument names."""

from __future__ import annotations

import ast
import difflib
import runpy
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def tool_names() -> list[str]:
    """The names of all tools: every ``tools/X.py`` but this file."""
    return sorted(path.stem for path in FOLDER.glob('*.py') if path.stem not in {'__init__', 'cli'})


def summary(name: str) -> str:
    """The first line of a tool's docstring, read without running the tool."""
    docstring = ast.get_docstring(ast.parse((FOLDER / f'{name}.py').read_text(encoding='utf-8'))) or ''
    return docstring.partition('\n')[0]


def usage() -> str:
    """What ``mmgpt --help`` prints."""
    names = tool_names()
    width = max(map(len, names), default=0)
    tools = '\n'.join(f'  {name:<{width}}  {summary(name)}' for name in names)
    return f'usage: mmgpt TOOL [arguments]\n\n{tools}\n\n"mmgpt TOOL --help" lists the arguments of a tool.'


def main(argv: list[str] | None = None) -> int:
    """Runs ``mmgpt TOOL [arguments]`` as ``python tools/TOOL.py [arguments]`` would.

    Args:
        argv: the arguments without the program's name; default: those of the process.

    Returns:
        The exit code: 2 where no tool has the given name, otherwise the tool's own (as a ``SystemExit``).
    """
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in {'-h', '--help'}:
        print(usage())
        return 0 if argv else 2
    if argv[0] == '--version':
        from importlib.metadata import version

        print(version('mmgpt'))
        return 0
    name = argv[0].replace('-', '_')
    if name not in tool_names():
        close = difflib.get_close_matches(name, tool_names(), n=1)
        hint = f'; did you mean {close[0]!r}?' if close else ''
        print(f'mmgpt: there is no tool named {argv[0]!r}{hint}\n\n{usage()}', file=sys.stderr)
        return 2
    # Run as __main__ of its own name, so that worker processes started by spawning find the tool, not this file.
    sys.argv = [f'mmgpt {name}', *argv[1:]]
    runpy.run_module(f'{__package__ or "mmgpt_tools"}.{name}', run_name='__main__', alter_sys=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
