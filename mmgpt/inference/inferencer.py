"""An inferencer, as users of MMEngine's family know them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.infer import BaseInferencer
from PIL import Image, ImageDraw, ImageFont

from mmgpt.hub.io import load_folder
from mmgpt.hub.pictures import open_picture, video_frames
from mmgpt.inference.batch import messages_of
from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.examples import as_messages, pictures_of
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.requests import Answer, Request

SIDE = 224  # of a picture that is drawn, at most


class VisionLanguageInferencer(BaseInferencer):
    """Questions about pictures and videos in, answers out: preprocess, forward, visualize, postprocess.

    Args:
        model: a model folder, or a loaded ``Flamingo``.
        processor: of a loaded model.
        device: default: the accelerator where there is one.
        dtype: default: the folder's own.
        show_progress: a progress bar on several batches. Default: False.

    Example::

        inferencer = VisionLanguageInferencer('work_dirs/otter_demo/hf')
        result = inferencer({'image': 'seven.png', 'text': 'What digit is this?'}, return_vis=True)
        result['predictions'][0]['text'], result['visualization'][0]
    """

    preprocess_kwargs = {'system', 'examples'}
    forward_kwargs = {'settings'}
    visualize_kwargs = {'return_vis', 'show', 'img_out_dir'}
    postprocess_kwargs = {'print_result', 'pred_out_file'}

    def __init__(
        self,
        model: Any,
        processor: Any = None,
        device: str | None = None,
        dtype: str = 'auto',
        show_progress: bool = False,
    ) -> None:
        if processor is None:
            model, processor = load_folder(model, device, dtype)
        self.model, self.processor = model, processor
        self.show_progress = show_progress
        self.num_visualized_imgs = 0

    def _init_pipeline(self, cfg: Any) -> None:
        """Nothing: the processor is the pipeline."""

    def __call__(self, inputs: dict | str | Sequence, batch_size: int = 16, **kwargs: Any) -> dict[str, list]:
        """Answers one question or several.

        Args:
            inputs: a text, a dict ``{'text', 'image' | 'images' | 'video', 'examples', 'system'}`` or
                ``{'messages': [...]}``, or a list of such. A picture is a path, a PIL image, an array (H, W, 3) or a
                data URL.
            batch_size: questions that are answered together.
            kwargs: ``system``, ``examples`` (of questions that have none); ``settings`` (``GenerationSettings``);
                ``return_vis``, ``show``, ``img_out_dir``; ``print_result``, ``pred_out_file`` (JSON).

        Returns:
            ``predictions``: of each question ``{'text', 'tokens', 'finish'}``; ``visualization``: of each an array
            (H, W, 3), the pictures with question and answer below, where it was asked for.

        Raises:
            OSError, ValueError: a question is not as it should be, or its pictures cannot be read.
        """
        with BatchEngine(self.model, self.processor, max_batch=batch_size, prefix_bytes=0) as self._engine:
            return super().__call__(inputs, batch_size=batch_size, **kwargs)

    def _inputs_to_list(self, inputs: Any) -> list[dict]:
        several = inputs if isinstance(inputs, list | tuple) else [inputs]
        return [{'text': one} if isinstance(one, str) else _with_pictures(one) for one in several]

    def preprocess(
        self, inputs: list[dict], batch_size: int = 16, system: str | None = None, examples: Sequence[dict] = ()
    ) -> Iterator[list]:
        """Batches of prompts."""
        shown = as_messages(examples)
        for start in range(0, len(inputs), batch_size):
            batch = inputs[start : start + batch_size]
            yield [self._engine.prompt(messages_of(one, Path(), system, shown)) for one in batch]

    def forward(self, inputs: list, settings: GenerationSettings | None = None) -> list[Answer]:
        """The answers of a batch."""
        settings = settings or GenerationSettings()
        made = dict(self._engine.generate(Request(prompt, settings) for prompt in inputs))
        for answer in made.values():
            if isinstance(answer, BaseException):
                raise answer
        return [made[place] for place in range(len(inputs))]

    def visualize(
        self,
        inputs: list[dict],
        preds: list[Answer],
        return_vis: bool = False,
        show: bool = False,
        img_out_dir: str = '',
    ) -> list[np.ndarray]:
        """The pictures of each question in a row, with question and answer below.

        Args:
            inputs: the questions.
            preds: the answers.
            return_vis: whether to give them back.
            show: whether to open them in the system's viewer.
            img_out_dir: where to write them as PNG; '' writes none.
        """
        if not (return_vis or show or img_out_dir):
            return []
        drawn = []
        for question, answer in zip(inputs, preds, strict=True):
            picture = _drawn(question, answer.text, self.processor.num_frames)
            drawn.append(np.asarray(picture))
            if show:
                picture.show()
            if img_out_dir:
                Path(img_out_dir).mkdir(parents=True, exist_ok=True)
                picture.save(Path(img_out_dir) / f'{self.num_visualized_imgs:08}.png')
                self.num_visualized_imgs += 1
        return drawn

    def postprocess(
        self,
        preds: list[Answer],
        visualization: list[np.ndarray],
        return_datasamples: bool = False,
        print_result: bool = False,
        pred_out_file: str = '',
    ) -> dict[str, list]:
        """The result as plain data."""
        plain = [{'text': one.text, 'tokens': one.tokens, 'finish': one.finish} for one in preds]
        if print_result:
            print(json.dumps(plain, ensure_ascii=False, indent=1))
        if pred_out_file:
            Path(pred_out_file).parent.mkdir(parents=True, exist_ok=True)
            Path(pred_out_file).write_text(json.dumps(plain, ensure_ascii=False, indent=1) + '\n', encoding='utf-8')
        return {'predictions': list(preds) if return_datasamples else plain, 'visualization': visualization}


def _with_pictures(question: dict) -> dict:
    """A question whose arrays are pictures."""

    def picture(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return Image.fromarray(value)
        return [picture(one) for one in value] if isinstance(value, list | tuple) else value

    return {key: picture(value) if key in ('image', 'images', 'video') else value for key, value in question.items()}


def _drawn(question: dict, answer: str, num_frames: int) -> Image.Image:
    pictures = [open_picture(picture) for picture in pictures_of(question)]
    if question.get('video') is not None:
        pictures += video_frames(question['video'], num_frames)
    for picture in pictures:
        picture.thumbnail((SIDE, SIDE))
    text = question.get('text') or str(question.get('messages', [{}])[-1].get('content', ''))
    font = ImageFont.load_default(14)
    width = max(sum(picture.width + 4 for picture in pictures), 2 * SIDE)
    lines = _wrapped(f'> {text}', font, width - 8) + _wrapped(answer, font, width - 8)
    top = max((picture.height for picture in pictures), default=0)
    canvas = Image.new('RGB', (width, top + 8 + 18 * len(lines)), 'white')
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + 4
    draw = ImageDraw.Draw(canvas)
    for i, line in enumerate(lines):
        draw.text((4, top + 4 + 18 * i), line, 'black', font)
    return canvas


def _wrapped(text: str, font: Any, width: int) -> list[str]:
    lines = ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
