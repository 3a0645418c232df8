"""A chat with a model: turns with pictures and videos, answers that stream, turns that are asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteriaList

from mmgpt.hub.io import load_folder
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.inference.answer_text import AnswerText
from mmgpt.inference.dialogue_cache import DialogueCache
from mmgpt.inference.examples import as_messages, question
from mmgpt.inference.generation import Follower, GenerationSettings, context_length


@dataclass(frozen=True)
class Reply:
    """An answer: its text, how many tokens were generated, the seconds this took, and the tokens that were reused.

    ``reused`` tokens of the dialogue had been computed for the turn before, with their media.
    """

    text: str
    tokens: int
    seconds: float
    reused: int = 0


class Chat:
    """One conversation with a model.

    What the model computed of a turn is kept for the next one (``mmgpt.inference.dialogue_cache``). A conversation is
    kept in a folder by ``mmgpt.inference.session``.

    Args:
        model: a ``Flamingo``.
        processor: its processor.
        system: the system text: Otter's task description, MultiModal-GPT's leading sentence.
        examples: in-context demonstrations, shown before the conversation: messages, or short records
            ``{'image': picture, 'text': question, 'answer': answer}``, see ``mmgpt.inference.examples``.
        settings: how answers are generated.

    Example::

        chat = Chat.from_folder('work_dirs/otter_demo/hf')
        print(chat.ask('What digit is this?', images=['seven.png']).text)
    """

    def __init__(
        self,
        model: Any,
        processor: FlamingoProcessor,
        system: str | None = None,
        examples: Sequence[dict] = (),
        settings: GenerationSettings | None = None,
    ):
        self.model = model
        self.processor = processor
        self.system = system
        self.examples = as_messages(examples)
        self.settings = settings or GenerationSettings()
        self.history: list[dict] = []
        self._cache = DialogueCache(model)

    @classmethod
    def from_folder(cls, name: str | Path, device: str | None = None, dtype: str = 'auto', **kwargs: Any) -> Chat:
        """Loads a model folder (see ``mmgpt.hub.io.load_folder``); ``kwargs`` are the constructor's."""
        return cls(*load_folder(name, device, dtype), **kwargs)

    @property
    def messages(self) -> list[dict]:
        """All that the model is shown: system text, examples, the conversation so far."""
        return self._shown(self.examples, self.history)

    @property
    def prompt(self) -> str:
        """The conversation so far as the template writes it; '' where there is none."""
        return self.processor.apply_chat_template(self.messages) if self.history else ''

    def ask(
        self,
        text: str,
        images: Iterable[Any] = (),
        video: Any = None,
        on_text: Callable[[str], None] | None = None,
        examples: Sequence[dict] | None = None,
    ) -> Reply:
        """Asks one question; question and answer become part of the conversation.

        Args:
            text: the question.
            images: PIL images, paths or data URLs; each is one medium.
            video: a list of pictures, the path of a video file, or a data URL of one.
            on_text: called with each piece of the answer as it is generated (with beams: once, at the end).
            examples: in-context demonstrations instead of those that the conversation had; None: they stay.

        Raises:
            OSError: a picture or video cannot be read. The conversation is then as before, as after any error.
        """
        return self._answer(self.history, question(text, images, video), on_text, examples)

    def regenerate(self, on_text: Callable[[str], None] | None = None) -> Reply:
        """Answers the last question again.

        Raises:
            ValueError: nothing was asked yet.
        """
        return self._answer(self.history[:-2], self._asked(-1), on_text)

    def edit(
        self,
        text: str,
        turn: int = -1,
        images: Iterable[Any] | None = None,
        video: Any = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """Asks an earlier question otherwise; the turns after it are forgotten.

        Args:
            text: the new question.
            turn: which one, from 0; -1 is the last.
            images, video: instead of those that it had; both None: they stay.
            on_text: see ``ask``.

        Raises:
            IndexError: there is no such turn.
            ValueError: nothing was asked yet.
        """
        old = self._asked(turn)
        new = question(text, images or (), video)
        if images is None and video is None:
            media = [part for part in old['content'] if part['type'] != 'text']
            new['content'] = [*media, *new['content']]
        place = range(len(self.history) // 2)[turn]
        return self._answer(self.history[: 2 * place], new, on_text)

    def undo(self) -> bool:
        """Forgets the last question and its answer; False where there is none."""
        forgotten, self.history = self.history[-2:], self.history[:-2]
        return bool(forgotten)

    def clear(self) -> None:
        """Forgets the conversation; system text and examples stay."""
        self.history = []
        self._cache.clear()

    def _asked(self, turn: int) -> dict:
        if not self.history:
            raise ValueError('nothing was asked yet')
        turns = self.history[::2]
        if not -len(turns) <= turn < len(turns):
            raise IndexError(f'there are {len(turns)} turns, no turn {turn}')
        return turns[turn]

    def _shown(self, examples: Sequence[dict], turns: Sequence[dict]) -> list[dict]:
        system = [{'role': 'system', 'content': self.system}] if self.system else []
        return [*system, *examples, *turns]

    def _answer(
        self,
        before: list[dict],
        asked: dict,
        on_text: Callable[[str], None] | None,
        examples: Sequence[dict] | None = None,
    ) -> Reply:
        examples = self.examples if examples is None else as_messages(examples)
        reply = self._generate(self._shown(examples, [*before, asked]), on_text)
        self.examples = examples
        self.history = [*before, asked, {'role': 'assistant', 'content': reply.text}]
        return reply

    @torch.inference_mode()
    def _generate(self, messages: list[dict], on_text: Callable[[str], None] | None) -> Reply:
        inputs = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True
        ).to(self.model.device, dtype=self.model.dtype)
        inputs.pop('attention_mask')
        length = inputs['input_ids'].shape[1]
        settings = self.settings.within(context_length(self.model.config), length)
        stop = (*self.processor.prompter.template.stop_strings, *settings.stop)
        follower = Follower(AnswerText(self.processor.tokenizer, stop), length, on_text)
        follows = settings.num_beams == 1
        start = time.perf_counter()
        with nullcontext() if settings.seed is None else torch.random.fork_rng():
            if settings.seed is not None:
                torch.manual_seed(settings.seed)
            output = self._cache.generate(
                **inputs,
                **settings.arguments(),
                eos_token_id=self.processor.stop_token_ids,
                pad_token_id=self.processor.pad_token_id,
                stopping_criteria=StoppingCriteriaList([follower] if follows else []),
            )
        seconds = time.perf_counter() - start
        follower.follow(output[0])
        return Reply(follower.end(), output.shape[1] - length, seconds, self._cache.reused)
