"""The processor: messages or marked text with pictures in, the model's inputs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from mmgpt.data.prompter import Prompter
from mmgpt.hub.messages import Conversation, is_batch, read_messages
from mmgpt.hub.pictures import open_picture, open_video
from mmgpt.registry import plugins_of, require_plugins
from mmgpt.structures import IGNORE_INDEX, Encoded, Medium


class FlamingoProcessor(ProcessorMixin):
    """Makes the model's inputs with the very object that made its training data, the ``Prompter``.

    Args:
        tokenizer: a tokenizer that knows the template's special tokens.
        prompter: the prompter, or what its ``to_dict`` gave.
        image_mean: of the model's vision encoder, three floats; with them ``pixel_values`` are normalised floats.
            None: they stay uint8 and the model normalises them.
        image_std: as ``image_mean``.
        num_frames: of a longer video that many frames are kept, evenly spaced; None keeps all.

    Example::

        processor = AutoProcessor.from_pretrained(folder)
        messages = [{'role': 'user', 'content': [{'type': 'image', 'image': 'cat.jpg'},
                                                 {'type': 'text', 'text': 'What is this?'}]}]
        inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
        output = model.generate(**inputs)
        answer = processor.decode(output[0, inputs['input_ids'].shape[1]:], skip_special_tokens=True)
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        prompter: Prompter | dict,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
        num_frames: int | None = None,
    ):
        super().__init__(tokenizer)
        if (image_mean is None) != (image_std is None):
            raise ValueError(f'image_mean and image_std go together, got {image_mean} and {image_std}')
        self.prompter = Prompter.from_dict(prompter, tokenizer) if isinstance(prompter, dict) else prompter
        self.image_mean = None if image_mean is None else [float(x) for x in image_mean]
        self.image_std = None if image_std is None else [float(x) for x in image_std]
        self.num_frames = num_frames

    @classmethod
    def for_model(cls, prompter: Prompter, model: Any) -> FlamingoProcessor:
        """The processor of a ``Flamingo``: normalises as its vision encoder wants, cuts videos to what it can see."""
        return cls(
            prompter.tokenizer,
            prompter,
            image_mean=model.vision_encoder.mean,
            image_std=model.vision_encoder.std,
            num_frames=getattr(model.resampler, 'max_frames', None),
        )

    @property
    def image_token(self) -> str:
        """The mark that stands for one medium."""
        return self.prompter.template.media_token

    @property
    def model_input_names(self) -> list[str]:
        """What the model takes."""
        return ['input_ids', 'attention_mask', 'pixel_values', 'frame_mask']

    def to_dict(self) -> dict[str, Any]:
        """All but the tokenizer, as written into ``processor_config.json``."""
        prompter = self.prompter.to_dict()
        return {
            'processor_class': type(self).__name__,
            'prompter': prompter,
            'image_mean': self.image_mean,
            'image_std': self.image_std,
            'num_frames': self.num_frames,
            'plugins': plugins_of(prompter),
        }

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any) -> FlamingoProcessor:
        """Builds what ``from_pretrained`` read; see ``ProcessorMixin``."""
        require_plugins(processor_dict.get('plugins', {}))
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    def apply_chat_template(
        self,
        conversation: Conversation | Sequence[Conversation],
        chat_template: str | None = None,
        tools: list | None = None,
        documents: list | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        return_assistant_tokens_mask: bool = False,
        tokenize: bool = False,
        return_tensors: str | None = 'pt',
        return_dict: bool = False,
        processor_kwargs: dict | None = None,
        **kwargs: Any,
    ) -> str | list[str] | Tensor | BatchFeature:
        """Writes conversations as the template says, and turns them into the model's inputs.

        Args:
            conversation: messages (``mmgpt.hub.messages`` shows their form), or a list of conversations: a batch.
            chat_template: must be None: the text is the business of the processor's own template.
            tools: must be None, as ``documents``.
            documents: must be None.
            add_generation_prompt: ends the text where the answer begins.
            continue_final_message: ends the text inside the last message, an assistant's, to be continued.
            return_assistant_tokens_mask: adds ``assistant_masks``, 1 at the tokens that training supervises.
            tokenize: False returns the text; no picture is opened then.
            return_tensors: 'pt', 'np', or None for lists.
            return_dict: False returns ``input_ids`` only.
            processor_kwargs: further arguments of ``__call__``: ``padding_side``.
            **kwargs: the same.

        Returns:
            The text, or ``input_ids`` (B, S), or a ``BatchFeature`` of ``input_ids``, ``attention_mask`` and, where
            there are pictures, ``pixel_values`` (B, T, F, 3, H, W) and ``frame_mask`` (B, T, F).
        """
        for name, value in {'chat_template': chat_template, 'tools': tools, 'documents': documents}.items():
            if value:
                raise ValueError(f'{name} is not supported: the text is made by the template {self.prompter.template!r}')
        batched = is_batch(conversation)
        conversations = conversation if batched else [conversation]
        dialogues = [read_messages(one, self.num_frames, load=tokenize) for one in conversations]
        how = {'generate': add_generation_prompt, 'continue_last': continue_final_message}
        if not tokenize:
            texts = [self.prompter.text(turns, **how) for turns in dialogues]
            return texts if batched else texts[0]
        encoded = [self.prompter.encode(turns, **how) for turns in dialogues]
        batch = self._collate(encoded, **{**(processor_kwargs or {}), **kwargs})
        if return_assistant_tokens_mask:
            batch['assistant_masks'] = (batch['labels'] != IGNORE_INDEX).long()
        del batch['labels']
        features = BatchFeature(batch if return_tensors else {k: v.tolist() for k, v in batch.items()}, return_tensors)
        return features if return_dict else features['input_ids']
