"""A chat with a model: turns with pictures and videos, answers that stream."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mmgpt.hub.io import load_folder
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.inference.dialogue_cache import DialogueCache
from mmgpt.inference.generation import CallbackStreamer, GenerationSettings


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

    What the model computed of a turn is kept for the next one (``mmgpt.inference.dialogue_cache``).

    Args:
        model: a ``Flamingo``.
        processor: its processor.
        system: the system text: Otter's task description, MultiModal-GPT's leading sentence.
        examples: messages shown before the conversation, as in-context demonstrations.
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
        self.examples = list(examples)
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
        system = [{'role': 'system', 'content': self.system}] if self.system else []
        return [*system, *self.examples, *self.history]

    def ask(
        self,
        text: str,
        images: Iterable[Any] = (),
        video: Any = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """Asks one question; question and answer become part of the conversation.

        Args:
            text: the question.
            images: PIL images, paths or data URLs; each is one medium.
            video: a list of pictures, or the path of a video file.
            on_text: called with each piece of the answer as it is generated (with beams: once, at the end).

        Raises:
            OSError: a picture or video cannot be read. The conversation is then as before, as after any error.
        """
        content = [{'type': 'image', 'image': image} for image in images]
        if video is not None:
            content.append({'type': 'video', 'video': video})
        question = {'role': 'user', 'content': [*content, {'type': 'text', 'text': text}]}
        reply = self._generate([*self.messages, question], on_text)
        self.history += [question, {'role': 'assistant', 'content': reply.text}]
        return reply

    def undo(self) -> bool:
        """Forgets the last question and its answer; False where there is none."""
        forgotten, self.history = self.history[-2:], self.history[:-2]
        return bool(forgotten)

    def clear(self) -> None:
        """Forgets the conversation; system text and examples stay."""
        self.history = []
        self._cache.clear()

    @torch.inference_mode()
    def _generate(self, messages: list[dict], on_text: Callable[[str], None] | None) -> Reply:
        inputs = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True
        ).to(self.model.device, dtype=self.model.dtype)
        tokenizer = self.processor.tokenizer
        streams = on_text is not None and self.settings.num_beams == 1
        start = time.perf_counter()
        inputs.pop('attention_mask')
        output = self._cache.generate(
            **inputs,
            **self.settings.arguments(),
            eos_token_id=self.processor.stop_token_ids,
            pad_token_id=self.processor.pad_token_id,
            streamer=CallbackStreamer(tokenizer, on_text) if streams else None,
        )
        seconds = time.perf_counter() - start
        new = output[0, inputs['input_ids'].shape[1] :]
        text = tokenizer.decode(new, skip_special_tokens=True).strip()
        if on_text is not None and not streams:
            on_text(text)
        return Reply(text, len(new), seconds, self._cache.reused)


def read_examples(path: str | Path) -> list[dict]:
    """Reads in-context examples from a JSON file.

    The file holds a list of messages, or of short records ``{"image": path, "text": question, "answer": answer}`` with
    ``image``, ``images`` (each picture a medium), ``video`` or none of them. Paths are relative to the file.

    Raises:
        OSError: there is no such file.
        ValueError: it is no JSON, or a record is of neither form.
    """
    path = Path(path).expanduser()
    try:
        records = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(records, list):
        raise ValueError(f'{path}: expected a list of messages or of examples, got {type(records).__name__}')
    messages = []
    for i, record in enumerate(records):
        if isinstance(record, dict) and 'role' in record:
            messages.append(record)
        elif isinstance(record, dict) and isinstance(record.get('text'), str) and isinstance(record.get('answer'), str):
            messages += _example_messages(record)
        else:
            raise ValueError(
                f"{path}: record {i} is neither a message with a 'role' nor an example with 'text' and 'answer': "
                f'{record!r:.200}'
            )
    return [_beside(message, path.parent) for message in messages]


def _example_messages(record: dict) -> list[dict]:
    images = record.get('images') or ([record['image']] if record.get('image') else [])
    content = [{'type': 'image', 'image': image} for image in images]
    if record.get('video'):
        content.append({'type': 'video', 'video': record['video']})
    return [
        {'role': 'user', 'content': [*content, {'type': 'text', 'text': record['text']}]},
        {'role': 'assistant', 'content': record['answer']},
    ]


def _beside(value: Any, folder: Path, key: str = '') -> Any:
    """Makes the relative paths of pictures and videos in a message relative to ``folder``."""
    if isinstance(value, dict):
        return {k: _beside(v, folder, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_beside(item, folder, key) for item in value]
    is_file = key in {'image', 'images', 'video', 'path', 'url'} and isinstance(value, str) and ':' not in value[:8]
    return str(folder / value) if is_file else value
