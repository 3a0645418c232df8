"""What a template is: turns in, one text with its supervised spans out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from mmgpt.structures import Medium, Turn


@dataclass(frozen=True)
class Piece:
    """A text that is tokenised as one whole, since tokenising it in parts changes the ids at their borders."""

    text: str
    supervised: tuple[tuple[int, int], ...] = ()  # character spans [start, end): trained in full or not at all
    bos: bool = True  # the tokenizer's beginning-of-text, where it has one, comes first; it is never trained
    eos: bool = True  # the tokenizer's end-of-text comes last
    train_eos: bool = True  # and is trained
    ends_count: bool = False  # bos and eos count towards the limit: where no room is left, there is no eos


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
    stop_strings: ClassVar[tuple[str, ...]] = ()  # end an answer too: a model that goes on with the next turn by itself

    def bind(self, tokenizer: PreTrainedTokenizerBase) -> Template:
        """The template as it is with a tokenizer, before it renders anything: itself, unless it depends on it."""
        return self

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
