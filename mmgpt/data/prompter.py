"""The one object that makes prompts: training, evaluation, the processor and the server wrap it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.templates import Template
from mmgpt.data.tokens import Tokens, check_tokenizer, encode
from mmgpt.data.vision_inputs import ImageTransform, Transform
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Turn


class Prompter:
    """Template, tokenizer and image transform: what turns a conversation into a model's inputs.

    Args:
        template: renders turns.
        tokenizer: has the template's special tokens; see :func:`mmgpt.data.tokens.add_special_tokens`.
        image_transform: makes frames of pictures.

    Raises:
        ValueError: the tokenizer does not fit the template.

    Example::

        prompter = Prompter(Otter(), tokenizer, ImageTransform(224))
        tokens = prompter.encode([Turn('user', 'What is this?', (Medium((picture,)),))], generate=True)
        frames = [prompter.frame(frame) for medium in tokens.media for frame in medium.frames]
    """

    def __init__(
        self,
        template: Template,
        tokenizer: PreTrainedTokenizerBase,
        image_transform: ImageTransform,
    ) -> None:
        check_tokenizer(tokenizer, template)
        self.template = template.bind(tokenizer)
        self.tokenizer = tokenizer
        self.image_transform = image_transform

    @property
    def media_token_id(self) -> int:
        """The id of the mark that stands for one medium."""
        return self.tokenizer.convert_tokens_to_ids(self.template.media_token)

    @property
    def stop_token_id(self) -> int:
        """The id at which an answer ends."""
        stop = self.template.stop_token
        return self.tokenizer.eos_token_id if stop is None else self.tokenizer.convert_tokens_to_ids(stop)

    def text(self, turns: Sequence[Turn], generate: bool = False, continue_last: bool = False) -> str:
        """The text of a conversation, for people to read; arguments as of :meth:`Template.render`."""
        return self.template.render(turns, generate, continue_last).text

    def encode(
        self,
        turns: Sequence[Turn],
        generate: bool = False,
        continue_last: bool = False,
        max_seq_len: int | None = None,
    ) -> Tokens:
        """The ids and labels of a conversation.

        The ids of a prompt (``generate=True``) are the beginning of the ids of the same turns with their answer.

        Args:
            turns: oldest first; context examples are earlier turns.
            generate: the text ends where the answer begins.
            continue_last: the text ends inside the last answer, to be continued.
            max_seq_len: limit of the text's tokens, cut on the right; None = no limit. For training: a prompt that is
                cut loses its question.

        Raises:
            ValueError: the turns do not make a conversation of the template's format.
        """
        rendered = self.template.render(turns, generate, continue_last)
        return encode(rendered, self.tokenizer, self.template.media_token, max_seq_len)

    def frame(
        self,
        key: Hashable | Image.Image,
        images: ImageStore | None = None,
        augment: Sequence[Transform] = (),
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """One frame of a medium as (3, H, W) uint8.

        Args:
            key: a picture, or the key of one in ``images``.
            images: where keys are looked up.
            augment: see :class:`~mmgpt.data.vision_inputs.ImageTransform`.
            rng: what the augmentations draw from.

        Raises:
            KeyError: the store has no such key.
            ValueError: the picture cannot be decoded, or there is no store to look into.
        """
        if not isinstance(key, Image.Image):
            if images is None:
                raise ValueError(f'the frame {key!r} is the key of an image store, and the source has none: set images')
            key = images.open(key)
        return self.image_transform(key, augment, rng)

    def to_dict(self) -> dict[str, Any]:
        """All but the tokenizer as plain data, to be saved beside it."""
        return {'template': self.template.to_dict(), 'image_transform': self.image_transform.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Prompter:
        """The prompter of what :meth:`to_dict` gave."""
        template = TEMPLATES.build(dict(data['template']))
        return cls(template, tokenizer, ImageTransform(**data['image_transform']))
