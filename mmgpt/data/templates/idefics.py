"""Idefics' prompt formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgpt.data.templates.base import Piece, Rendered, Template, check_marks, split_examples
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Medium, Turn

FENCE = '<fake_token_around_image>'
END = '<end_of_utterance>'


@TEMPLATES.register_module()
class Idefics(Template):
    """The dialogues of Idefics (arXiv 2306.16527), and Otter's format for training on it.

    ::

        User:<fake_token_around_image><image><fake_token_around_image>{question}<end_of_utterance>
        Assistant: {answer}<end_of_utterance>

    Marks that follow each other share the token between them. Trained are the answers with their
    ``<end_of_utterance>``, those of the context too, and the final end-of-text. The blank before an answer belongs to
    it, so a prompt ends with ``Assistant:``. A system turn stands in front of everything, on a line of its own.

    Args:
        end_of_utterance: False leaves ``<end_of_utterance>`` out, for the models that were not tuned on instructions:
            their answers end with the end of text.
        answer_token: True writes ``Assistant:<answer>{answer}``, as Otter does.

    Example:
        >>> turns = [Turn('user', 'Is it hot?', (Medium(('tray',)),)), Turn('assistant', 'No.')]
        >>> print(Idefics(end_of_utterance=False).render(turns).text)
        User:<fake_token_around_image><image><fake_token_around_image>Is it hot?
        Assistant: No.
    """

    media_token = '<image>'

    def __init__(self, end_of_utterance: bool = True, answer_token: bool = False) -> None:
        self.end_of_utterance = end_of_utterance
        self.answer_token = answer_token

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """In the order of the published tokenizers."""
        return (FENCE, self.media_token, *[END] * self.end_of_utterance, *['<answer>'] * self.answer_token)

    @property
    def stop_token(self) -> str | None:
        """What ends an answer."""
        return END if self.end_of_utterance else None

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {
            'type': 'Idefics',
            'end_of_utterance': self.end_of_utterance,
            'answer_token': self.answer_token,
        }

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`."""
        system, examples = split_examples(turns, generate, continue_last)
        end, begin = self.stop_token or '', '<answer>' if self.answer_token else ''
        text, supervised, media = '', [], []
        if system is not None:
            text = self._clean(system) + '\n'
        for number, (question, answer) in enumerate(examples):
            media += question.media
            text += '\n' if number else ''
            text += f'User:{self._marks(question.media)}{self._clean(question)}{end}\nAssistant:{begin}'
            if answer is not None:
                start = len(text)
                text += ('' if self.answer_token else ' ') + self._clean(answer)
                if not (continue_last and number == len(examples) - 1):
                    text += end
                supervised.append((start, len(text)))
        piece = Piece(text, tuple(supervised), eos=not (generate or continue_last))
        return Rendered((piece,), tuple(media))

    def _marks(self, media: Sequence[Medium]) -> str:
        return FENCE + (self.media_token + FENCE) * len(media) if media else ''

    def _clean(self, turn: Turn) -> str:
        text = '\n'.join(filter(None, (turn.text, turn.input))).replace('\r\n', '\n')
        check_marks(text, turn, self.media_token)
        return text.strip()
