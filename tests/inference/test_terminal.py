import io
import json

import pytest
from PIL import Image
from rich.console import Console

from mmgpt.inference.chat import Reply
from mmgpt.inference.terminal import Terminal, _whole_blocks


class EchoChat:
    """Answers with what it was asked."""

    def __init__(self):
        self.asked = []
        self.examples = []
        self.history = []

    def ask(self, text, images=(), video=None, on_text=None):
        if text == 'fail':
            raise ValueError('this [cannot] be asked')
        if text == 'run out':
            raise RuntimeError('CUDA out of memory')
        self.asked.append((text, tuple(images), video))
        self.history.append(text)
        for piece in ('echo ', f'[b]{text}'):
            on_text(piece)
        return Reply(f'echo {text}', 4, 2.0)

    def undo(self):
        return bool(self.history and self.history.pop())

    def clear(self):
        self.history.clear()


@pytest.fixture
def talk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new('RGB', (5, 4)).save('a b.png')
    Image.new('RGB', (3, 2)).save('c.png')
    (tmp_path / 'v.mp4').write_bytes(b'')
    (tmp_path / 'e.json').write_text(json.dumps([{'text': 'q', 'answer': 'a'}] * 2))

    def run(*lines):
        chat, waiting, shown = EchoChat(), iter(lines), io.StringIO()

        def read(prompt):
            line = next(waiting, None)
            if line is None:
                raise EOFError
            if isinstance(line, Exception):
                raise line
            return line

        Terminal(chat, Console(file=shown, width=200, highlight=False), read).run()
        return chat, shown.getvalue()

    return run


def test_answers_are_printed_as_they_come_with_their_speed(talk):
    chat, shown = talk('Hello', '', '/quit', 'never read')
    assert chat.asked == [('Hello', (), None)]
    assert 'echo [b]Hello\n4 tokens, 2.0 s, 2 tokens/s' in shown


def test_pictures_and_video_go_with_the_next_question_only(talk):
    chat, shown = talk('/image "a b.png" c.png', '/video v.mp4', 'first', 'second')
    assert chat.asked == [('first', ('a b.png', 'c.png'), 'v.mp4'), ('second', (), None)]
    assert 'a b.png: 5 x 4' in shown


def test_a_line_may_go_on(talk):
    chat, _ = talk('one\\', 'two')
    assert chat.asked == [('one\ntwo', (), None)]


def test_examples_undo_and_clear(talk):
    chat, shown = talk('/examples e.json', 'a', 'b', '/undo', '/clear', '/undo')
    assert len(chat.examples) == 4
    assert '2 examples' in shown
    assert 'there is nothing to forget' in shown
    assert chat.history == []


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('/imgae c.png', 'no command /imgae'),
        ('/image', 'needs the path'),
        ('/image nowhere.png', 'nowhere.png'),
        ('/image "c.png', 'No closing quotation'),
        ('/video nowhere.mp4', 'nowhere.mp4'),
        ('/examples nowhere.json', 'nowhere.json'),
        ('fail', 'this [cannot] be asked'),
    ],
)
def test_a_mistake_is_told_and_the_chat_goes_on(talk, line, told):
    chat, shown = talk(line, 'still here')
    assert told in shown
    assert [text for text, *_ in chat.asked] == ['still here']


def test_an_error_of_the_machine_is_told_and_the_chat_goes_on(talk):
    chat, shown = talk('run out', 'again')
    assert 'out of memory' in shown
    assert [text for text, *_ in chat.asked] == ['again']


def test_a_line_that_cannot_be_decoded_is_told_and_the_chat_goes_on(talk):
    chat, shown = talk(UnicodeDecodeError('utf-8', b'caf\xe9', 3, 4, 'unexpected end of data'), 'again')
    assert 'not in utf-8' in shown
    assert [text for text, *_ in chat.asked] == ['again']


def test_ctrl_c_stops_an_answer_and_not_the_chat(talk, monkeypatch):
    ask = EchoChat.ask
    interrupted = []

    def interrupt_once(self, text, **kwargs):
        if not interrupted:
            interrupted.append(text)
            raise KeyboardInterrupt
        return ask(self, text, **kwargs)

    monkeypatch.setattr(EchoChat, 'ask', interrupt_once)
    chat, shown = talk('first', 'second')
    assert [text for text, *_ in chat.asked] == ['second']
    assert 'stopped' in shown


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A terminal with a real chat."""
    from mmgpt.inference.chat import Chat
    from mmgpt.inference.generation import GenerationSettings
    from tests.hub import tiny

    monkeypatch.chdir(tmp_path)
    tiny.picture(0).save('0.png')

    def run(*lines, is_terminal=False):
        chat = Chat(*tiny.model_and_processor(), settings=GenerationSettings(max_new_tokens=6))
        waiting, shown = iter([*lines, '/quit']), io.StringIO()
        console = Console(file=shown, width=100, highlight=False, force_terminal=is_terminal)
        Terminal(chat, console, lambda prompt: next(waiting)).run()
        return chat, shown.getvalue()

    return run


def test_a_question_of_several_lines(talk):
    chat, _ = talk('"""', 'one', '', '  two', '"""', 'three')
    assert [asked[0] for asked in chat.asked] == ['one\n\n  two', 'three']


def test_turns_are_repeated_edited_kept_and_gone_on_with(real):
    chat, shown = real(
        '/again',
        '/image 0.png',
        'What is it?',
        '/again',
        '/edit What digit is it?',
        '/prompt',
        '/save kept',
        '/save kept',
    )
    assert 'nothing was asked' in shown
    assert [part.get('text') for part in chat.history[0]['content']] == [None, 'What digit is it?']
    assert 'User: What digit is it?' in shown
    assert 'kept exists already' in shown
    other, shown = real('/load nowhere', '/load kept', 'Why?')
    assert 'nowhere' in shown
    assert len(other.history) == 4
    assert other.ask('And?').text == (chat.ask('Why?'), chat.ask('And?'))[1].text


def test_settings_and_system_text(real):
    chat, shown = real('/set', '/set temperature 0.5', '/set heat 3', '/set top_p x', '/system Look.')
    assert (chat.settings.temperature, chat.system) == (0.5, 'Look.')
    assert 'max_new_tokens = 6' in shown
    assert "no setting 'heat'" in shown
    assert 'could not convert' in shown


def test_in_a_terminal_answers_are_markdown(talk, monkeypatch):
    shown = io.StringIO()
    chat, waiting = EchoChat(), iter(['is **bold**', '/quit'])
    Terminal(chat, Console(file=shown, width=80, force_terminal=True), lambda prompt: next(waiting)).run()
    assert '\x1b[1mbold' in shown.getvalue()
    assert '**' not in shown.getvalue()


def test_long_answers_stay_readable_block_by_block():
    shown = io.StringIO()
    chat = EchoChat()
    text = 'One.\n\n```\na = 1\n\nb = 2\n```\n\n**Two.**'

    def ask(question, images=(), video=None, on_text=None):
        for piece in text:
            on_text(piece)
        return Reply(text, 4, 2.0)

    chat.ask = ask
    waiting = iter(['x', '/quit'])
    console = Console(file=shown, width=40, force_terminal=True, color_system=None)
    Terminal(chat, console, lambda prompt: next(waiting)).run()
    last = shown.getvalue().split('\x1b[?25h')[0]
    assert last.rstrip().endswith('Two.')
    assert [_whole_blocks(text[:n]) for n in (4, 6, 12, 20, len(text))] == [0, 6, 6, 6, len(text) - len('**Two.**')]
