"""Uploads a model folder or an adapter to the Hugging Face hub."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=f'{__doc__} Its README.md is the model card.')
    parser.add_argument('folder', metavar='FOLDER', help='of a model, as work_dirs/otter_demo/hf, or of an adapter')
    parser.add_argument('repo', metavar='OWNER/NAME', help='the repository on the hub; made where it does not exist')
    parser.add_argument('--private', action='store_true', default=None, help='make it a private one')
    parser.add_argument('--revision', metavar='BRANCH', help='default: main')
    parser.add_argument('--message', metavar='TEXT', help='of the commit')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.hub.push import push_to_hub

    try:
        print(push_to_hub(args.folder, args.repo, args.private, args.revision, args.message))
    except (OSError, ValueError) as error:
        print(f'push: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
