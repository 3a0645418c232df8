"""The template of the tokenizer itself, for current language models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from mmgpt.data.templates.base import Piece, Rendered, Template, check_marks, split_examples
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn

PLACE = 'PLACEOFANSWER{}END'  # what stands for an answer while the text around it is found


@TEMPLATES.register_module()
class ChatTemplate(Template):
    """Writes a conversation with the tokenizer's own chat template; context examples are earlier rounds.

    A question has its marks, one per medium, on a line before its text, and its input on a line after it. Trained are
    the answers with the token that ends a turn, and whatever the template writes between the prompt and the answer,
    such as an empty thought. A prompt is what the template writes where it is asked for one; blanks at its end belong
    to the answer, since tokenizers join them with what follows.

    Where an answer stands is found by rendering the conversation with a place holder for each answer, so it does not
    matter what else the template does with earlier turns. A template that does not write answers as they are is
    refused.

    Args:
        chat_template: Jinja source; None = the tokenizer's.
        media_token: the mark of a medium; it is added to the tokenizer where it is missing.
        options: further variables of the template, such as ``enable_thinking=False``.

    Raises:
        ValueError: when it meets a tokenizer that has no chat template, or one that cannot be used.
    """

    stop_token: str | None = None  # known with the tokenizer

    def __init__(
        self,
        chat_template: str | None = None,
        media_token: str = '<image>',
        options: dict[str, Any] | None = None,
    ) -> None:
        self.chat_template = chat_template
        self.media_token = media_token
        self.options = dict(options or {})
        self.special_tokens = (media_token,)
        self._tokenizer: PreTrainedTokenizerBase | None = None

    def to_dict(self) -> dict[str, Any]:
        """The config that builds this template again."""
        return {
            'type': 'ChatTemplate',
            'chat_template': self.chat_template,
            'media_token': self.media_token,
            'options': self.options,
        }

    def bind(self, tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
        """See :meth:`Template.bind`: the tokenizer has the chat template, and knows what ends a turn."""
        if self.chat_template is None and not tokenizer.chat_template:
            raise ValueError(
                f'the tokenizer {tokenizer.name_or_path!r} has no chat template: take the one of an instruction-tuned '
                'model, give chat_template, or use another template'
            )
        bound = copy.copy(self)
        bound._tokenizer = tokenizer
        example = [Turn('user', 'Hi'), Turn('assistant', 'Hello')]
        parts = bound._around(example)
        if not parts[0].startswith(bound._prompt(example[:1])):
            raise ValueError(
                f'the chat template of {bound._name} writes {bound._prompt(example[:1])!r} as a prompt, and '
                f'{parts[0]!r} before an answer: what is trained would not be what is asked; see its options'
            )
        known = tokenizer.added_tokens_encoder
        stop = next((token for token in tokenizer.tokenize(parts[-1]) if token in known), None)
        bound.stop_token = None if stop == tokenizer.eos_token else stop
        return bound

    def render(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> Rendered:
        """See :meth:`Template.render`."""
        split_examples(turns, generate, continue_last)
        media = tuple(medium for turn in turns for medium in turn.media)
        if generate:
            return Rendered((Piece(self._prompt(turns), bos=False, eos=False),), media)
        text, *ends = self._around(turns)
        stop, supervised = self.stop_token or self._tokenizer.eos_token, []
        answers = [place for place, turn in enumerate(turns) if turn.role == 'assistant']
        for place, end in zip(answers, ends, strict=True):
            prompt = self._prompt(turns[:place])
            start = len(prompt) if text.startswith(prompt) else len(text)  # or it treats earlier rounds in another way
            text += self._content(turns[place])
            if continue_last and place == answers[-1]:
                end = ''
            length = end.index(stop) + len(stop) if stop in end else 0
            supervised.append((start, len(text) + length))
            text += end
        if not continue_last and text != self._apply([self._message(turn) for turn in turns]):
            raise ValueError(f'the chat template of {self._name} changes what the answers say: {text[-200:]!r}')
        piece = Piece(text, tuple(supervised), bos=False, eos=not continue_last and stop not in ends[-1])
        return Rendered((piece,), media)

    def _around(self, turns: Sequence[Turn]) -> list[str]:
        """The text before the first answer, between the answers, and after the last."""
        messages, places = [self._message(turn) for turn in turns], []
        for message in messages:
            if message['role'] == 'assistant':
                places.append(PLACE.format(len(places)))
                message['content'] = places[-1]
        rest, parts = self._apply(messages), []
        for place in places:
            before, found, rest = rest.partition(place)
            if not found:
                raise ValueError(f'the chat template of {self._name} leaves out an answer of {len(places)}')
            parts.append(before)
        return [*parts, rest]

    def _prompt(self, turns: Sequence[Turn]) -> str:
        return self._apply([self._message(turn) for turn in turns], add_generation_prompt=True).rstrip(' ')

    def _apply(self, messages: list[dict[str, str]], **how: Any) -> str:
        if self._tokenizer is None:
            raise ValueError('a ChatTemplate writes nothing before it knows its tokenizer: use bind(tokenizer)')
        try:
            return self._tokenizer.apply_chat_template(
                messages, chat_template=self.chat_template, tokenize=False, **how, **self.options
            )
        except TemplateError as error:
            roles = [message['role'] for message in messages]
            raise ValueError(f'the chat template of {self._name} refuses {roles}: {error}') from error

    @property
    def _name(self) -> str:
        return repr(self._tokenizer.name_or_path)

    def _message(self, turn: Turn) -> dict[str, str]:
        return {'role': turn.role, 'content': self._content(turn)}

    def _content(self, turn: Turn) -> str:
        text = '\n'.join(filter(None, (turn.text, turn.input))).replace('\r\n', '\n').strip()
        check_marks(text, turn, self.media_token)
        return f'{self.media_token * len(turn.media)}\n{text}' if turn.media else text
