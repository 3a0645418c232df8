"""Serves a model: a web page, and chat completions with pictures and videos for OpenAI's clients."""

from __future__ import annotations

import argparse
import sys


def adapter(text: str) -> tuple[str, str]:
    """NAME=DIR."""
    name, equals, folder = text.partition('=')
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f'expected NAME=DIR, got {text!r}')
    return name, folder


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', metavar='MODEL', help='a model folder, such as work_dirs/otter_demo/hf')
    parser.add_argument('--host', default='127.0.0.1', help='default: %(default)s, this machine alone')
    parser.add_argument('--port', type=int, default=8000, help='default: %(default)s')
    parser.add_argument('--api-key', metavar='K', help='what clients must send; default: MMGPT_API_KEY, else none')
    parser.add_argument(
        '--adapters',
        type=adapter,
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME=DIR',
        help='LoRA adapters, chosen by the model of a request',
    )
    parser.add_argument('--max-batch', type=int, default=16, metavar='N', help='answers at a time; default: 16')
    parser.add_argument('--max-waiting', type=int, default=64, metavar='N', help='more get 429; default: 64')
    parser.add_argument('--timeout', type=float, default=300, metavar='S', help='of a request; default: 300 seconds')
    parser.add_argument('--max-tokens', type=int, default=256, metavar='N', help='of an answer, where not said')
    parser.add_argument('--log-dir', metavar='DIR', help="where the page's votes and flags are kept; default: nowhere")
    parser.add_argument('--compare', metavar='M', help='an adapter or a model folder, for blind votes at /arena')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the accelerator where there is one')
    parser.add_argument('--dtype', default='auto', help="such as bfloat16; default: the folder's own")
    parser.add_argument('--import', dest='plugins', action='append', default=[], metavar='MODULE', help='a plugin')
    args = parser.parse_args(argv)
    if args.api_key == '':
        parser.error('--api-key is empty: give a key, or leave it out where clients need none')
    if args.compare and not args.log_dir:
        parser.error('--compare needs --log-dir: where are the votes to be kept?')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    import os

    from mmgpt.engine.console import start_tool

    start_tool()
    try:
        from mmgpt.inference.plugins import import_plugins
        from mmgpt.serving.run import serve
        from mmgpt.serving.settings import ServerSettings

        import_plugins(args.plugins)
        settings = ServerSettings(
            args.api_key or os.environ.get('MMGPT_API_KEY') or None,
            args.max_batch,
            args.max_waiting,
            timeout=args.timeout,
            max_tokens=args.max_tokens,
            log_dir=args.log_dir,
        )
        serve(args.model, args.host, args.port, settings, dict(args.adapters), args.device, args.dtype, args.compare)
    except (OSError, ValueError, ImportError) as error:
        print(f'serve: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
