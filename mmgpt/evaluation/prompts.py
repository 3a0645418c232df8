"""How items are written into prompts: published styles, word for word, or the model's own template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from mmgpt.data.templates import Piece, Rendered, Template
from mmgpt.evaluation.items import Item, Prompt
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.structures import Medium, Turn

TEMPLATE = 'template'  # the style of the model's own template


@dataclass(frozen=True)
class Format:
    """How an example is written: ``{media}`` are its marks, ``{question}`` and ``{answer}`` what the item says."""

    question: str
    answer: str = '{answer}<|endofchunk|>'
    separator: str = ''  # between examples
    head: bool = False  # a line for the task's preamble stands before the first one, be it empty


# style -> kind of task -> format. What OpenFlamingo (arXiv 2308.01390), Otter's fork of its evaluation and VL-ICL Bench
# (arXiv 2403.13164) write
STYLES: dict[str, dict[str, Format]] = {
    'openflamingo': {
        'caption': Format('{media}Output:', separator='\n'),
        'vqa': Format('{media}Question:{question} Short answer:', separator='\n'),
        'classification': Format('{media}Output:'),
        'hateful_memes': Format("{media}is an image with: '{question}' written on it. Is it hateful? Answer:"),
        'instruction': Format('{media}Question:{question} Short answer:', separator='\n'),
        'vl_icl': Format('{media}{question}\nAnswer:', ' {answer}<|endofchunk|>', head=True),
    },
    'otter': {
        'caption': Format('{media}User: What does the image describe? GPT:<answer>'),
        'vqa': Format('{media}User: {question} Please answer in short words. GPT:<answer>'),
        'classification': Format('{media}User: What is in the image? GPT:<answer>'),
        'hateful_memes': Format(
            "{media}User: is an image with: '{question}' written on it. Is it hateful? GPT:<answer>"
        ),
        'instruction': Format('{media}User: {question} GPT:<answer>'),
        'vl_icl': Format('{media}User: {question}\nGPT:<answer>', ' {answer}<|endofchunk|>', head=True),
    },
}
BY_TEMPLATE = {'OpenFlamingo': 'openflamingo', 'Interleaved': 'openflamingo', 'Otter': 'otter'}


class PromptWriter:
    """Writes the prompts of a task.

    Args:
        task: the task.
        style: one of ``STYLES``, 'template' for the model's own template, or None: what fits the model's template.

    Raises:
        ValueError: there is no such style, or no style has a format of the task's kind.
    """

    def __init__(self, task: EvaluationTask, style: str | None = None) -> None:
        if style not in (None, TEMPLATE, *STYLES):
            raise ValueError(f'style must be one of {", ".join([*STYLES, TEMPLATE])} or None, got {style!r}')
        if task.kind not in STYLES['openflamingo']:
            raise ValueError(
                f'{type(task).__name__}.kind must be one of {", ".join(STYLES["openflamingo"])}, got {task.kind!r}: '
                "'instruction' where the question is the whole prompt"
            )
        self.task, self.style = task, style

    def style_for(self, template: Template) -> str:
        """The style in which a model of that template is asked."""
        return self.style or BY_TEMPLATE.get(type(template).__name__, TEMPLATE)

    def turns(self, prompt: Prompt) -> list[Turn]:
        """The prompt as a conversation; the frames of its media are those of the items, unopened."""
        turns = []
        for item in prompt.demonstrations:
            turns += [Turn('user', self.task.instruction(item), item.media), Turn('assistant', item.answer)]
        turns.append(Turn('user', self.task.instruction(prompt.query), prompt.query.media))
        if self.task.preamble:
            turns[0] = replace(turns[0], text=f'{self.task.preamble}\n{turns[0].text}')
        return turns

    def render(self, prompt: Prompt, template: Template) -> Rendered:
        """The prompt as text with marks, for a model with that template."""
        style = self.style_for(template)
        if style == TEMPLATE:
            return template.render(self.turns(prompt), generate=True)
        form = STYLES[style][self.task.kind]
        parts = [
            self._write(form.question, item, template)
            + form.answer.replace('{answer}', unmarked(item.answer, template))
            for item in prompt.demonstrations
        ]
        text = form.separator.join([*parts, self._write(form.question, prompt.query, template)])
        preamble = unmarked(self.task.preamble, template)
        text = f'{preamble}\n{text}' if preamble or form.head else text
        media = tuple(medium for item in (*prompt.demonstrations, prompt.query) for medium in item.media)
        return Rendered((Piece(text, bos=getattr(template, 'bos', True), eos=False),), media)

    def messages(self, prompt: Prompt) -> list[dict]:
        """The prompt as chat messages with opened pictures, as Hugging Face's processors take them."""
        return [
            {'role': turn.role, 'content': [*map(self._part, turn.media), {'type': 'text', 'text': turn.text}]}
            for turn in self.turns(prompt)
        ]

    def pictures(self, medium: Medium) -> list[Image.Image]:
        """The opened frames of a medium."""
        return [self.task.open(frame) for frame in medium.frames]

    def _part(self, medium: Medium) -> dict:
        pictures = self.pictures(medium)
        if len(pictures) == 1:
            return {'type': 'image', 'image': pictures[0]}
        return {'type': 'video', 'video': pictures}

    def _write(self, form: str, item: Item, template: Template) -> str:
        question = unmarked(item.question, template)
        return form.replace('{media}', template.media_token * len(item.media)).replace('{question}', question)


def unmarked(text: str, template: Template) -> str:
    """A text without the special tokens that it may hold by itself."""
    for token in template.special_tokens:
        text = text.replace(token, '')
    return text.strip()


def without_media(items: Sequence[Item]) -> tuple[Item, ...]:
    """The same items as text alone."""
    return tuple(replace(item, media=()) for item in items)
