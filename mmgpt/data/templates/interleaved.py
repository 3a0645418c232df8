"""How Flamingo models read captions and web pages in pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmgpt.data.templates.base import Rendered
from mmgpt.data.templates.chunks import ChunkTemplate
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn


@TEMPLATES.register_module()
class Interleaved(ChunkTemplate):
    """Pictures with the text that follows each, as OpenFlamingo was pretrained (arXiv 2308.01390).

    ::

        <image>{caption}<|endofchunk|>{eos}
        {before the first picture}<image>{text}<|endofchunk|><image>{text}<|endofchunk|>{eos}

    A page has a system turn: what stands before its first picture, perhaps nothing; a caption has none. Trained is what
    follows a picture, with its end-of-chunk, and after a caption the end-of-text. The limit of a row counts all
    tokens, and what is left of a cut text is trained. Marks that a text of the web holds by itself are taken out.

    Args:
        bos: whether the tokenizer's beginning-of-text comes first. Default True, as LLaMA's tokenizer adds it; those of
            GPT-NeoX and MPT add none.

    Example:
        >>> from mmgpt.structures import Medium, Turn
        >>> turns = [Turn('user', '', (Medium(('barn',)),)), Turn('assistant', 'a red barn')]
        >>> Interleaved().render(turns).text
        '<image>a red barn<|endofchunk|>'
        >>> Interleaved().render([Turn('system', 'Our farm.'), *turns]).text
        'Our farm.<image>a red barn<|endofchunk|>'
    """

    special_tokens = ('<|endofchunk|>', '<image>')
    stop_token = '<|endofchunk|>'

    def __init__(self, bos: bool = True) -> None:
        self.bos = bos

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'Interleaved', 'bos': self.bos}

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`. The text of a user turn stands behind its picture and is not trained."""
        rendered = super().render(turns, generate, continue_last)
        is_page = turns[0].role == 'system'
        return replace(rendered, pieces=(replace(rendered.pieces[0], ends_count=True, train_eos=not is_page),))

    def _opening(self, system: Turn | None) -> str:
        return '' if system is None else self._clean(system)

    def _question(self, turn: Turn, first: bool) -> str:
        return self.media_token * len(turn.media) + self._clean(turn)

    def _clean(self, turn: Turn) -> str:
        text = ' '.join(filter(None, (turn.text, turn.input)))
        for token in self.special_tokens:
            text = text.replace(token, '')
        return text.strip()
