"""OpenFlamingo's prompt format."""

from __future__ import annotations

from typing import Any

from mmgpt.data.templates.chunks import ChunkTemplate
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn


@TEMPLATES.register_module()
class OpenFlamingo(ChunkTemplate):
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

    def __init__(self, separator: str = '\n', bos: bool = True) -> None:
        self.separator = separator
        self.bos = bos

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'OpenFlamingo', 'separator': self.separator, 'bos': self.bos}

    def _question(self, turn: Turn, first: bool) -> str:
        asked = self._clean(turn)
        return self.media_token * len(turn.media) + (f'Question:{asked} Short answer:' if asked else 'Output:')
