"""Otter's prompt formats."""

from __future__ import annotations

import re
from typing import Any, Literal

from mmgpt.data.templates.base import check_marks
from mmgpt.data.templates.chunks import ChunkTemplate
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn


@TEMPLATES.register_module()
class Otter(ChunkTemplate):
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
        >>> from mmgpt.structures import Medium, Turn
        >>> turns = [Turn('user', 'Is it hot?', (Medium(('tray',)),)), Turn('assistant', 'No.')]
        >>> Otter().render(turns).text
        '<image>User:Is it hot? GPT:<answer>No.<|endofchunk|>'
        >>> Otter(spacing='spaced').render(turns[:1], generate=True).text
        '<image>User: Is it hot? GPT:<answer>'
    """

    special_tokens = ('<|endofchunk|>', '<image>', '<answer>')
    stop_token = '<|endofchunk|>'

    def __init__(self, spacing: Literal['compact', 'spaced'] = 'compact', keep_symbols: bool = True) -> None:
        if spacing not in ('compact', 'spaced'):
            raise ValueError(f"spacing must be 'compact' or 'spaced', got {spacing!r}")
        self.spacing = spacing
        self.keep_symbols = keep_symbols

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'Otter', 'spacing': self.spacing, 'keep_symbols': self.keep_symbols}

    @property
    def _blank(self) -> str:
        return ' ' if self.spacing == 'spaced' else ''

    def _question(self, turn: Turn, first: bool) -> str:
        return f'{self.media_token * len(turn.media)}User:{self._blank}{self._clean(turn)} GPT:<answer>'

    def _answer(self, turn: Turn) -> str:
        return self._blank + self._clean(turn)

    def _clean(self, turn: Turn) -> str:
        text = turn.text.replace('\r\n', '\n')
        if turn.input:
            text += '\n' + turn.input.replace('\r\n', '\n')
        if not self.keep_symbols and turn.role != 'system':
            text = re.sub(r'\s{2,}', ' ', re.sub(r'[^\w\s.,?!()"\']', '', text))
        check_marks(text, turn, self.media_token)
        return text.strip() if turn.role == 'assistant' else text.strip(' \n')


@TEMPLATES.register_module()
class OtterLlama2(Otter):
    """Otter's format for LLaMA 2 chat models (its code's 'llama2')::

        [INST]<image>
        {question}[/INST]<answer>{answer}<|endofchunk|>

    The line break stands in chunks with a mark and always in the first; all else is as of :class:`Otter`.

    Args:
        keep_symbols: as of :class:`Otter`.

    Example:
        >>> OtterLlama2().render([Turn('user', 'Hi'), Turn('assistant', 'Hello')]).text
        '[INST]\\nHi[/INST]<answer>Hello<|endofchunk|>'
    """

    def __init__(self, keep_symbols: bool = True) -> None:
        super().__init__('compact', keep_symbols)

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'OtterLlama2', 'keep_symbols': self.keep_symbols}

    def _question(self, turn: Turn, first: bool) -> str:
        line = '\n' if first or turn.media else ''
        return f'[INST]{self.media_token * len(turn.media)}{line}{self._clean(turn)}[/INST]<answer>'
