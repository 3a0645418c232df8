"""Templates: turns in, one text with its supervised spans out. Training, evaluation and chat use the same object."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mmgpt.registry import TEMPLATES
from mmgpt.structures import Medium, Turn


@dataclass(frozen=True)
class Piece:
    """A text that is tokenised as one whole, since tokenising it in parts changes the ids at their borders."""

    text: str
    supervised: tuple[tuple[int, int], ...] = ()  # character spans [start, end): trained in full or not at all
    bos: bool = True  # the tokenizer's beginning-of-text, where it has one, comes first; it is never trained
    eos: bool = True  # the tokenizer's end-of-text comes last; it is trained
    eos_when_cut: bool = True  # also where the limit cut the text


@dataclass(frozen=True)
class Rendered:
    """What a template makes of turns: its pieces are joined as token ids."""

    pieces: tuple[Piece, ...]
    media: tuple[Medium, ...]  # in the order of their marks

    @property
    def text(self) -> str:
        """The whole text, for people to read."""
        return ''.join(piece.text for piece in self.pieces)


class Template(ABC):
    """Owns a prompt format: its special tokens, where a medium's mark stands, and where an answer stops.

    A subclass keeps the arguments of its constructor as attributes of the same names (:meth:`to_dict` reads them).
    """

    special_tokens: ClassVar[tuple[str, ...]]  # what must be single tokens, in the order they are added
    stop_token: ClassVar[str | None]  # ends an answer; None = the tokenizer's end-of-text
    media_token: ClassVar[str]  # stands for one medium

    @abstractmethod
    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """The text of a conversation.

        Args:
            turns: oldest first; context examples are earlier turns.
            generate: the last turn is the user's and the text ends where the answer begins.
            continue_last: the last turn is the assistant's and the text ends inside it, to be continued.

        Raises:
            ValueError: the turns do not make a conversation of this format.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The config, ``type`` included, that builds this template again."""

    def __repr__(self) -> str:
        arguments = ', '.join(f'{name}={value!r}' for name, value in self.to_dict().items() if name != 'type')
        return f'{type(self).__name__}({arguments})'


@TEMPLATES.register_module()
class Otter(Template):
    """Otter's format: one chunk per example, joined without anything between (arXiv 2306.05425; its code's 'simple').

    ::

        <image>User:{question} GPT:<answer>{answer}<|endofchunk|>                 spacing='compact', current training
        <image>User: {question} GPT:<answer> {answer}<|endofchunk|>               spacing='spaced', demos and serving

    A chunk begins with one mark per medium of its question; a system turn is a task description in front of
    everything, on a line of its own. Trained are the answers with their ``<|endofchunk|>``, those of the context too,
    and the final end-of-text. The blank after ``<answer>`` belongs to the answer, so a prompt ends with ``<answer>``.

    Args:
        spacing: 'compact' or 'spaced', as shown.
        keep_symbols: False deletes, as Otter's loader did by default, every character outside of word characters,
            blanks and ``.,?!()"'`` from questions and answers.

    Example:
        >>> turns = [Turn('user', 'Is it hot?', (Medium(('tray',)),)), Turn('assistant', 'No.')]
        >>> Otter().render(turns).text
        '<image>User:Is it hot? GPT:<answer>No.<|endofchunk|>'
        >>> Otter(spacing='spaced').render(turns[:1], generate=True).text
        '<image>User: Is it hot? GPT:<answer>'
    """

    special_tokens = ('<|endofchunk|>', '<image>', '<answer>')
    stop_token = '<|endofchunk|>'
    media_token = '<image>'

    def __init__(self, spacing: Literal['compact', 'spaced'] = 'compact', keep_symbols: bool = True) -> None:
        if spacing not in ('compact', 'spaced'):
            raise ValueError(f"spacing must be 'compact' or 'spaced', got {spacing!r}")
        self.spacing = spacing
        self.keep_symbols = keep_symbols

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'Otter', 'spacing': self.spacing, 'keep_symbols': self.keep_symbols}

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`."""
        system, examples = split_examples(turns, generate, continue_last)
        blank = ' ' if self.spacing == 'spaced' else ''
        text, supervised, media = '', [], []
        if system is not None:
            text = self._clean(system) + '\n'
        for number, (question, answer) in enumerate(examples):
            media += question.media
            text += self.media_token * len(question.media) + f'User:{blank}{self._clean(question)} GPT:<answer>'
            if answer is not None:
                start = len(text)
                text += blank + self._clean(answer)
                if not (continue_last and number == len(examples) - 1):
                    text += self.stop_token
                supervised.append((start, len(text)))
        piece = Piece(text, tuple(supervised), eos=not (generate or continue_last))
        return Rendered((piece,), tuple(media))

    def _clean(self, turn: Turn) -> str:
        text = turn.text.replace('\r\n', '\n')
        if turn.input:
            text += '\n' + turn.input.replace('\r\n', '\n')
        if not self.keep_symbols:
            text = re.sub(r'\s{2,}', ' ', re.sub(r'[^\w\s.,?!()"\']', '', text))
        check_marks(text, turn, self.media_token)
        return text.strip() if turn.role == 'assistant' else text.strip(' \n')


LEAD = 'Below is an instruction that describes a task. Write a response that appropriately completes the request.'


@TEMPLATES.register_module()
class MultiModalGPT(Template):
    """MultiModal-GPT's one format for instructions with and without image and input, and for dialogues.

    (arXiv 2305.04790, section 3.1)::

        {lead}

        ### Image:
        <image>

        ### Instruction:
        {instruction}

        ### Input:
        {input}

        ### Response:
        {response}</s>

    Parts that an instruction does not have are left out with their heading. A later round of a dialogue has no lead.
    Each round is tokenised by itself, with its own beginning and end of text. Trained are the responses with their
    end-of-text, which is where an answer stops; a round that is cut at the limit has none.

    Args:
        lead: the sentence in front of everything; a system turn stands in its place. Default: the published one.

    Example:
        >>> turns = [Turn('user', 'Is it hot?', (Medium(('tray',)),)), Turn('assistant', 'No.')]
        >>> MultiModalGPT(lead='Answer.').render(turns).text
        'Answer.\\n\\n### Image:\\n<image>\\n\\n### Instruction:\\nIs it hot?\\n\\n### Response:\\nNo.'
    """

    special_tokens = ('<|endofchunk|>', '<image>')  # those of its base; the first is not written
    stop_token = None
    media_token = '<image>'

    def __init__(self, lead: str = LEAD) -> None:
        self.lead = lead

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'MultiModalGPT', 'lead': self.lead}

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`."""
        system, examples = split_examples(turns, generate, continue_last)
        pieces, media = [], []
        for number, (question, answer) in enumerate(examples):
            parts = [('Instruction', self._clean(question.text, question))]
            if question.media:
                parts.insert(0, ('Image', self.media_token * len(question.media)))
            if question.input:
                parts.append(('Input', self._clean(question.input, question)))
            lead = (self.lead if system is None else self._clean(system.text, system)) if number == 0 else ''
            text = lead + ''.join(f'\n\n### {heading}:\n{part}' for heading, part in parts) + '\n\n### Response:\n'
            start = len(text)
            if answer is not None:
                text += self._clean(answer.text, answer)
            unfinished = (generate or continue_last) and number == len(examples) - 1
            supervised = () if answer is None else ((start, len(text)),)
            pieces.append(Piece(text, supervised, eos=not unfinished, eos_when_cut=False))
            media += question.media
        return Rendered(tuple(pieces), tuple(media))

    def _clean(self, text: str, turn: Turn) -> str:
        text = text.replace('\r\n', '\n').strip()
        check_marks(text, turn, self.media_token)
        return text


def check_marks(text: str, turn: Turn, media_token: str) -> None:
    """Refuses a text with a mark in it, which no medium stands behind.

    Raises:
        ValueError: the text of ``turn`` holds the mark.
    """
    if media_token in text:
        raise ValueError(
            f'the text of a {turn.role} turn holds {media_token!r}, which stands for a medium: '
            f'give its media in Turn.media and take the mark out of {text[:80]!r}'
        )


def split_examples(
    turns: Sequence[Turn], generate: bool = False, continue_last: bool = False
) -> tuple[Turn | None, list[tuple[Turn, Turn | None]]]:
    """Reads turns as an optional system turn and pairs of a question and its answer.

    Args:
        turns: oldest first.
        generate: the last question has no answer yet (None).
        continue_last: the last answer is unfinished.

    Raises:
        ValueError: the turns are in another order, or an answer has media.
    """
    if generate and continue_last:
        raise ValueError('generate begins an answer and continue_last continues one: choose one')
    system = turns[0] if turns and turns[0].role == 'system' else None
    rest = list(turns[system is not None :])
    roles = [turn.role for turn in rest]
    pairs = (len(rest) + 1) // 2
    expected = (['user', 'assistant'] * pairs)[: 2 * pairs - generate]
    if not rest or roles != expected:
        ending = 'a user turn that is to be answered' if generate else 'an assistant turn'
        raise ValueError(
            f'expected an optional system turn, then user and assistant in turn, ending with {ending}; '
            f'got {[turn.role for turn in turns]}'
        )
    if any(turn.media for turn in turns if turn.role != 'user'):
        raise ValueError('only user turns can have media')
    answers = [*rest[1::2], None] if generate else rest[1::2]
    return system, list(zip(rest[::2], answers, strict=True))
