"""Formats that write a whole conversation as one text, a chunk for each question with its answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from mmgpt.data.templates.base import Piece, Rendered, Template, check_marks, split_examples
from mmgpt.structures import Turn


class ChunkTemplate(Template):
    """Chunks one after the other; trained are the answers with their stop token, and the final end-of-text.

    A subclass says how a question is put, and changes what else is its own.
    """

    media_token = '<image>'
    separator: str = ''  # between chunks
    bos: bool = True  # the tokenizer's beginning-of-text comes first

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`."""
        system, examples = split_examples(turns, generate, continue_last)
        text, supervised, media = self._opening(system), [], []
        for number, (question, answer) in enumerate(examples):
            media += question.media
            text += (self.separator if number else '') + self._question(question, first=number == 0)
            if answer is not None:
                start = len(text)
                text += self._answer(answer)
                if not (continue_last and number == len(examples) - 1):
                    text += self.stop_token or ''
                supervised.append((start, len(text)))
        piece = Piece(text, tuple(supervised), bos=self.bos, eos=not (generate or continue_last))
        return Rendered((piece,), tuple(media))

    def _opening(self, system: Turn | None) -> str:
        """What stands in front of everything: the system turn, on a line of its own."""
        return '' if system is None else self._clean(system) + '\n'

    @abstractmethod
    def _question(self, turn: Turn, first: bool) -> str:
        """A chunk, with its marks, up to where its answer begins."""

    def _answer(self, turn: Turn) -> str:
        """An answer without its stop token."""
        return self._clean(turn)

    def _clean(self, turn: Turn) -> str:
        """The text of a turn as it is written."""
        text = '\n'.join(filter(None, (turn.text, turn.input))).replace('\r\n', '\n')
        check_marks(text, turn, self.media_token)
        return text.strip()
