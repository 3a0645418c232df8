"""Talks to a model about pictures and videos, in the terminal or with one question for scripts."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} With --text it answers that one question; without, it opens a chat.'
    )
    parser.add_argument('model', metavar='MODEL', help='a model folder, such as work_dirs/otter_demo/hf')
    parser.add_argument('--image', nargs='+', action='extend', default=[], metavar='PATH', help='pictures to ask about')
    parser.add_argument('--video', metavar='PATH', help='a video to ask about')
    parser.add_argument('--text', help='the question')
    parser.add_argument('--examples', metavar='FILE', help='in-context examples: JSON, messages or image/text/answer')
    parser.add_argument('--json', action='store_true', help='print {"text", "tokens", "seconds"}; needs --text')
    parser.add_argument('--system', metavar='TEXT', help="the system text; default: the template's own, if any")
    parser.add_argument('--max-new-tokens', type=int, default=256, metavar='N', help='default: %(default)s')
    parser.add_argument('--temperature', type=float, default=0.0, metavar='T', help='0 = greedy (default)')
    parser.add_argument('--top-p', type=float, default=1.0, metavar='P', help='of the draws; default: %(default)s')
    parser.add_argument('--seed', type=int, metavar='N', help='of the draws; default: another one each time')
    parser.add_argument(
        '--stop', nargs='+', default=[], metavar='TEXT', help="ends an answer, beside the template's own"
    )
    parser.add_argument('--load', metavar='FOLDER', help='go on with a conversation that /save kept')
    parser.add_argument('--beams', type=int, default=1, metavar='N', help='default: %(default)s')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the accelerator where there is one')
    parser.add_argument('--dtype', default='auto', help="such as bfloat16; default: the folder's own")
    parser.add_argument('--import', dest='plugins', action='append', default=[], metavar='MODULE', help='a plugin')
    args = parser.parse_args(argv)
    if args.json and args.text is None:
        parser.error('--json needs --text')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    import json

    from mmgpt.engine.console import start_tool
    from mmgpt.inference.chat import Chat
    from mmgpt.inference.examples import read_examples
    from mmgpt.inference.generation import GenerationSettings
    from mmgpt.inference.plugins import import_plugins
    from mmgpt.inference.session import load_session

    start_tool()
    try:
        import_plugins(args.plugins)
        chat = Chat.from_folder(
            args.model,
            args.device,
            args.dtype,
            system=args.system,
            examples=read_examples(args.examples) if args.examples else (),
            settings=GenerationSettings(
                args.max_new_tokens, args.temperature, args.top_p, args.beams, stop=tuple(args.stop), seed=args.seed
            ),
        )
        if args.load:
            load_session(chat, args.load)
        if args.text is None:
            from mmgpt.inference.terminal import Terminal

            terminal = Terminal(chat)
            terminal.images, terminal.video = args.image, args.video
            terminal.run()
        else:
            reply = chat.ask(args.text, images=args.image, video=args.video)
            fields = {'text': reply.text, 'tokens': reply.tokens, 'seconds': round(reply.seconds, 3)}
            print(json.dumps(fields, ensure_ascii=False) if args.json else reply.text)
    except (OSError, ValueError, ImportError) as error:
        print(f'chat: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
