"""Idefics' prompt formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgpt.data.templates.chunks import ChunkTemplate
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Medium, Turn

FENCE = '<fake_token_around_image>'
END = '<end_of_utterance>'


@TEMPLATES.register_module()
class Idefics(ChunkTemplate):
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

    separator = '\n'

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

    def _question(self, turn: Turn, first: bool) -> str:
        begin = '<answer>' if self.answer_token else ''
        return f'User:{self._marks(turn.media)}{self._clean(turn)}{self.stop_token or ""}\nAssistant:{begin}'

    def _answer(self, turn: Turn) -> str:
        return ('' if self.answer_token else ' ') + self._clean(turn)

    def _marks(self, media: Sequence[Medium]) -> str:
        return FENCE + (self.media_token + FENCE) * len(media) if media else ''
