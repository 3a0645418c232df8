"""Prints a config as training would see it, bases and changes merged in, after checking it."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=f'{__doc__} Its faults are printed instead where it has some.')
    parser.add_argument('config', metavar='CONFIG', help='a config file')
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='k=v', help='changes to the config: a.b=value'
    )
    parser.add_argument('--no-check', action='store_true', help='print it with its faults, variables too')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 for a config with faults, 2 where there is none."""
    args = parse(argv)

    from mmgpt.engine.config import ConfigError, load_config
    from mmgpt.engine.config_keys import without_variables
    from mmgpt.engine.console import start_tool

    start_tool()
    try:
        cfg = load_config(args.config, args.cfg_options, check=not args.no_check)
        print(cfg.pretty_text if args.no_check else without_variables(cfg).pretty_text)
    except ConfigError as error:
        print(f'print_config: {error}', file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f'print_config: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
