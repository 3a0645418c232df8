"""The interactive chat in a terminal."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown

from mmgpt.hub.pictures import open_picture
from mmgpt.inference.chat import Chat, Reply
from mmgpt.inference.examples import read_examples
from mmgpt.inference.session import load_session, save_session

HELP = """\
Type a question. A line that ends with \\ goes on in the next one; so do all lines between two lines of \"\"\".
  /image PATH …    shows pictures with the next question
  /video PATH      shows a video with the next question
  /examples FILE   reads in-context examples (JSON)
  /again           answers the last question again
  /edit TEXT       asks the last question otherwise, with the same pictures
  /undo            forgets the last question and answer
  /clear           forgets the conversation
  /set NAME VALUE  changes a setting: /set temperature 0.7; /set alone shows them
  /system TEXT     changes the system text
  /prompt          shows the text that the model sees
  /save FOLDER     keeps the conversation with its pictures
  /load FOLDER     goes on with one that was kept
  /help            shows this
  /quit            ends the chat (as do Ctrl-D and, at the prompt, Ctrl-C)"""
QUOTES = '"""'
HISTORY = Path('~/.local/state/mmgpt/history')


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
            'again': self._again,
            'edit': self._edit,
            'undo': self._undo,
            'set': self._set,
            'system': self._system,
            'prompt': self._prompt,
            'save': self._save,
            'load': self._load,
            'clear': self._clear,
            'help': self._help,
        }

    def run(self) -> None:
        """Chats until the user ends it."""
        with _line_editing() if self.read is input else contextlib.nullcontext():
            self._run()

    def _run(self) -> None:
        self.console.print('Type a question; /help lists the commands.', style='dim')
        while True:
            try:
                line = self._read_lines()
            except (EOFError, KeyboardInterrupt):
                self.console.print()
                return
            except UnicodeDecodeError as error:
                self.console.print(f'this line is not in {error.encoding}, the encoding expected', style='red')
                continue
            if line in {'/quit', '/exit'}:
                return
            if line:
                self._act(line)

    def _read_lines(self) -> str:
        lines = [self.read('> ')]
        if lines[0].strip() == QUOTES:
            lines = []
            while (line := self.read('. ')).strip() != QUOTES:
                lines.append(line)
            return '\n'.join(lines).strip()
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
        except (OSError, ValueError, IndexError, ImportError, RuntimeError) as error:
            self.console.print(str(error), style='red', markup=False)

    def _ask(self, text: str) -> None:
        self._show(lambda on_text: self.chat.ask(text, images=self.images, video=self.video, on_text=on_text))
        self.images, self.video = [], None

    def _show(self, ask: Callable[[Callable[[str], None]], Reply]) -> None:
        """Prints an answer while it comes: as Markdown in a terminal, as it is elsewhere."""
        if self.console.is_terminal:
            text = ''
            with Live(console=self.console, refresh_per_second=8) as live:

                def more(piece: str) -> None:
                    nonlocal text
                    text += piece
                    if end := _whole_blocks(text):  # they stay; only the last one is drawn anew
                        self.console.print(Markdown(text[:end]))
                        text = text[end:]
                    live.update(Markdown(text))

                reply = ask(more)
        else:
            reply = ask(lambda piece: self.console.print(piece, end='', markup=False, soft_wrap=True))
            self.console.print()
        rate = reply.tokens / max(reply.seconds, 1e-9)
        reused = f', {reply.reused} tokens of the prompt reused' if reply.reused else ''
        told = f'{reply.tokens} tokens, {reply.seconds:.1f} s, {rate:.0f} tokens/s{reused}'
        self.console.print(told, style='dim')

    def _image(self, rest: str) -> None:
        paths = shlex.split(rest)
        if not paths:
            raise ValueError('/image needs the path of a picture')
        for path in paths:
            picture = open_picture(path)  # a wrong path is better told now than with the next question
            self.images.append(path)
            self.console.print(f'{path}: {picture.width} x {picture.height}', style='dim', markup=False)

    def _video(self, rest: str) -> None:
        path = _one_path('video', rest)
        if not Path(path).expanduser().is_file():
            raise FileNotFoundError(f'there is no video file {path}')
        self.video = path

    def _examples(self, rest: str) -> None:
        self.chat.examples = read_examples(_one_path('examples', rest))
        answers = sum(message['role'] == 'assistant' for message in self.chat.examples)
        self.console.print(f'{answers} examples', style='dim')

    def _again(self, _: str) -> None:
        self._show(self.chat.regenerate)

    def _edit(self, text: str) -> None:
        if not text:
            raise ValueError('/edit needs the new text of the question')
        images = self.images or None
        self._show(lambda on_text: self.chat.edit(text, images=images, video=self.video, on_text=on_text))
        self.images, self.video = [], None

    def _set(self, rest: str) -> None:
        name, _, value = rest.partition(' ')
        if not name:
            shown = ', '.join(f'{key} = {value}' for key, value in asdict(self.chat.settings).items())
            self.console.print(shown, style='dim', markup=False)
            return
        self.chat.settings = self.chat.settings.changed(name, value.strip())
        self.console.print(f'{name} = {getattr(self.chat.settings, name)}', style='dim', markup=False)

    def _system(self, text: str) -> None:
        self.chat.system = text or None

    def _prompt(self, _: str) -> None:
        self.console.print(self.chat.prompt or '(nothing was asked yet)', style='dim', markup=False)

    def _save(self, rest: str) -> None:
        self.console.print(f'kept in {save_session(self.chat, _one_path("save", rest))}', style='dim', markup=False)

    def _load(self, rest: str) -> None:
        load_session(self.chat, _one_path('load', rest))
        self.console.print(f'{len(self.chat.history) // 2} turns', style='dim')

    def _undo(self, _: str) -> None:
        self.console.print('forgotten' if self.chat.undo() else 'there is nothing to forget', style='dim')

    def _clear(self, _: str) -> None:
        self.chat.clear()
        self.images, self.video = [], None
        self.console.print('a new conversation', style='dim')

    def _help(self, _: str) -> None:
        self.console.print(HELP, markup=False)


def _whole_blocks(text: str) -> int:
    """Where the last block of Markdown begins: after an empty line outside of code."""
    end = text.rfind('\n\n') + 2
    while end > 1 and text[:end].count('```') % 2:
        end = text.rfind('\n\n', 0, end - 2) + 2
    return end if end > 1 else 0


def _one_path(command: str, rest: str) -> str:
    paths = shlex.split(rest)
    if len(paths) != 1:
        raise ValueError(f'/{command} needs one path, got {len(paths)}')
    return paths[0]


@contextlib.contextmanager
def _line_editing() -> Iterator[None]:
    """Editing and a history that outlives the chat, where there is readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = HISTORY.expanduser()
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.set_history_length(1000)
            readline.write_history_file(path)
