"""How Flamingo models read captions and web pages in pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgpt.data.templates.base import Piece, Rendered, Template, split_examples
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn


@TEMPLATES.register_module()
class Interleaved(Template):
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
        >>> turns = [Turn('user', '', (Medium(('barn',)),)), Turn('assistant', 'a red barn')]
        >>> Interleaved().render(turns).text
        '<image>a red barn<|endofchunk|>'
        >>> Interleaved().render([Turn('system', 'Our farm.'), *turns]).text
        'Our farm.<image>a red barn<|endofchunk|>'
    """

    special_tokens = ('<|endofchunk|>', '<image>')
    stop_token = '<|endofchunk|>'
    media_token = '<image>'

    def __init__(self, bos: bool = True) -> None:
        self.bos = bos

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {'type': 'Interleaved', 'bos': self.bos}

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`. The text of a user turn stands behind its picture and is not trained."""
        system, examples = split_examples(turns, generate, continue_last)
        text = '' if system is None else self._clean(system)
        supervised, media = [], []
        for number, (question, answer) in enumerate(examples):
            media += question.media
            text += self.media_token * len(question.media) + self._clean(question)
            if answer is not None:
                start = len(text)
                text += self._clean(answer)
                if not (continue_last and number == len(examples) - 1):
                    text += self.stop_token
                supervised.append((start, len(text)))
        whole = not (generate or continue_last)
        piece = Piece(text, tuple(supervised), bos=self.bos, eos=whole, ends_count=True, train_eos=system is None)
        return Rendered((piece,), tuple(media))

    def _clean(self, turn: Turn) -> str:
        text = ' '.join(filter(None, (turn.text, turn.input)))
        for token in self.special_tokens:
            text = text.replace(token, '')
        return text.strip()
