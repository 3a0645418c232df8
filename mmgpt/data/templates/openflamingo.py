"""OpenFlamingo's prompt format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgpt.data.templates.base import Piece, Rendered, Template, check_marks, split_examples
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn


@TEMPLATES.register_module()
class OpenFlamingo(Template):
    """OpenFlamingo's format (arXiv 2308.01390, its evaluation): a question, or without text a caption, per example.

    ::

        <image>Question:{question} Short answer:{answer}<|endofchunk|>
        <image>Output:{caption}<|endofchunk|>

    The models were trained on captions and interleaved web pages, not on instructions: they answer best after some
    examples. A system turn stands in front of everything, on a line of its own.

    Args:
        separator: between examples. Default: a newline, as in version 2 for captions and questions.
        bos: whether the tokenizer's beginning-of-text comes first. Default True, as LLaMA's tokenizer adds it; those of
            GPT-NeoX and MPT add none.

    Example:
        >>> from mmgpt.structures import Medium
        >>> turns = [Turn('user', 'Is it hot?', (Medium(('tray',)),)), Turn('assistant', 'No')]
        >>> OpenFlamingo().render(turns).text
        '<image>Question:Is it hot? Short answer:No<|endofchunk|>'
        >>> OpenFlamingo().render([Turn('user', '', (Medium(('tray',)),))], generate=True).text
        '<image>Output:'
    """

    special_tokens = ('<|endofchunk|>', '<image>')
    stop_token = '<|endofchunk|>'
    media_token = '<image>'

    def __init__(self, separator: str = '\n', bos: bool = True) -> None:
        self.separator = separator
        self.bos = bos

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'OpenFlamingo', 'separator': self.separator, 'bos': self.bos}

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`."""
        system, examples = split_examples(turns, generate, continue_last)
        text, supervised, media = '', [], []
        if system is not None:
            text = self._clean(system) + '\n'
        for number, (question, answer) in enumerate(examples):
            asked = self._clean(question)
            media += question.media
            text += self.separator if number else ''
            text += self.media_token * len(question.media)
            text += f'Question:{asked} Short answer:' if asked else 'Output:'
            if answer is not None:
                start = len(text)
                text += self._clean(answer)
                if not (continue_last and number == len(examples) - 1):
                    text += self.stop_token
                supervised.append((start, len(text)))
        piece = Piece(text, tuple(supervised), bos=self.bos, eos=not (generate or continue_last))
        return Rendered((piece,), tuple(media))

    def _clean(self, turn: Turn) -> str:
        text = '\n'.join(filter(None, (turn.text, turn.input))).replace('\r\n', '\n')
        check_marks(text, turn, self.media_token)
        return text.strip()
