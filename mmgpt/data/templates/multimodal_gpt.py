"""MultiModal-GPT's prompt format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmgpt.data.templates.base import Piece, Rendered, Template, check_marks, split_examples
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn

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
    Each round is tokenised by itself, with its own beginning and end of text, which count towards the limit. Trained
    are the responses with their end-of-text, which is where an answer stops; of a round that is cut at the limit what
    is left of the response, without an end. Texts stay as they are written, blanks and line breaks included.

    Args:
        lead: the sentence in front of everything; a system turn stands in its place. Default: the published one.

    Example:
        >>> from mmgpt.structures import Medium, Turn
        >>> turns = [Turn('user', 'Is it hot?', (Medium(('tray',)),)), Turn('assistant', 'No.')]
        >>> MultiModalGPT(lead='Answer.').render(turns).text
        'Answer.\\n\\n### Image:\\n<image>\\n\\n### Instruction:\\nIs it hot?\\n\\n### Response:\\nNo.'
    """

    special_tokens = ('<|endofchunk|>', '<image>')  # those of its base; the first is not written
    stop_token = None
    media_token = '<image>'
    stop_strings = ('\n\n### Image:', '\n\n### Instruction:', '\n\n### Input:', '\n\n### Response:')

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
            parts = [('Instruction', self._checked(question.text, question))]
            if question.media:
                parts.insert(0, ('Image', self.media_token * len(question.media)))
            if question.input:
                parts.append(('Input', self._checked(question.input, question)))
            lead = (self.lead if system is None else self._checked(system.text, system)) if number == 0 else ''
            text = lead + ''.join(f'\n\n### {heading}:\n{part}' for heading, part in parts) + '\n\n### Response:\n'
            start = len(text)
            if answer is not None:
                text += self._checked(answer.text, answer)
            unfinished = (generate or continue_last) and number == len(examples) - 1
            supervised = () if answer is None else ((start, len(text)),)
            pieces.append(Piece(text, supervised, eos=not unfinished, ends_count=True))
            media += question.media
        return Rendered(tuple(pieces), tuple(media))

    def _checked(self, text: str, turn: Turn) -> str:
        check_marks(text, turn, self.media_token)
        return text
