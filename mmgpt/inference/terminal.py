"""The interactive chat in a terminal."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from mmgpt.hub.pictures import open_picture
from mmgpt.inference.chat import Chat, read_examples

HELP = """\
Type a question. A line that ends with \\ goes on in the next one.
  /image PATH …    shows pictures with the next question
  /video PATH      shows a video with the next question
  /examples FILE   reads in-context examples (JSON)
  /undo            forgets the last question and answer
  /clear           forgets the conversation
  /help            shows this
  /quit            ends the chat (as do Ctrl-D and, at the prompt, Ctrl-C)"""


class Terminal:
    """Reads questions, prints answers while they are generated.

    Args:
        chat: the conversation.
        console: where to print; default: the terminal.
        read: reads a line, given the prompt; raises ``EOFError`` at the end. Default: ``input``.
    """

    def __init__(self, chat: Chat, console: Console | None = None, read: Callable[[str], str] | None = None):
        self.chat = chat
        self.console = console or Console(highlight=False)
        self.read = read or input
        self.images: list[str] = []
        self.video: str | None = None
        self._commands = {
            'image': self._image,
            'video': self._video,
            'examples': self._examples,
            'undo': self._undo,
            'clear': self._clear,
            'help': self._help,
        }

    def run(self) -> None:
        """Chats until the user ends it."""
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (gives input() editing and history)
        self.console.print('Type a question; /help lists the commands.', style='dim')
        while True:
            try:
                line = self._read_lines()
            except (EOFError, KeyboardInterrupt):
                self.console.print()
                return
            if line in {'/quit', '/exit'}:
                return
            if line:
                self._act(line)

    def _read_lines(self) -> str:
        lines = [self.read('> ')]
        while lines[-1].endswith('\\'):
            lines[-1] = lines[-1][:-1]
            lines.append(self.read('. '))
        return '\n'.join(lines).strip()

    def _act(self, line: str) -> None:
        try:
            name, _, rest = line[1:].partition(' ')
            if not line.startswith('/'):
                self._ask(line)
            elif name in self._commands:
                self._commands[name](rest.strip())
            else:
                self.console.print(f'there is no command /{name}; /help lists them', style='red', markup=False)
        except KeyboardInterrupt:
            self.console.print('\n(stopped; the question is forgotten)', style='dim')
        except (OSError, ValueError, ImportError) as error:
            self.console.print(str(error), style='red', markup=False)

    def _ask(self, text: str) -> None:
        reply = self.chat.ask(text, images=self.images, video=self.video, on_text=self._print)
        self.images, self.video = [], None
        rate = reply.tokens / max(reply.seconds, 1e-9)
        self.console.print(f'\n{reply.tokens} tokens, {reply.seconds:.1f} s, {rate:.0f} tokens/s', style='dim')

    def _print(self, text: str) -> None:
        self.console.print(text, end='', markup=False, soft_wrap=True)

    def _image(self, rest: str) -> None:
        paths = shlex.split(rest)
        if not paths:
            raise ValueError('/image needs the path of a picture')
        for path in paths:
            picture = open_picture(path)  # a wrong path is better told now than with the next question
            self.images.append(path)
            self.console.print(f'{path}: {picture.width} x {picture.height}', style='dim', markup=False)

    def _video(self, rest: str) -> None:
        paths = shlex.split(rest)
        if len(paths) != 1:
            raise ValueError(f'/video needs the path of one video, got {len(paths)}')
        if not Path(paths[0]).expanduser().is_file():
            raise FileNotFoundError(f'there is no video file {paths[0]}')
        self.video = paths[0]

    def _examples(self, rest: str) -> None:
        paths = shlex.split(rest)
        if len(paths) != 1:
            raise ValueError(f'/examples needs the path of one JSON file, got {len(paths)}')
        self.chat.examples = read_examples(paths[0])
        answers = sum(message['role'] == 'assistant' for message in self.chat.examples)
        self.console.print(f'{answers} examples', style='dim')

    def _undo(self, _: str) -> None:
        self.console.print('forgotten' if self.chat.undo() else 'there is nothing to forget', style='dim')

    def _clear(self, _: str) -> None:
        self.chat.clear()
        self.images, self.video = [], None
        self.console.print('a new conversation', style='dim')

    def _help(self, _: str) -> None:
        self.console.print(HELP, markup=False)
