"""The processor: messages or marked text with pictures in, the model's inputs out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Piece, Rendered
from mmgpt.data.tokens import Tokens, encode
from mmgpt.hub.messages import Conversation, is_batch, read_messages
from mmgpt.hub.pictures import open_picture, open_video
from mmgpt.registry import plugin_modules, require_plugins
from mmgpt.structures import IGNORE_INDEX, Medium

DEFAULT_FRAMES = 16  # of a video, as Otter takes them, where the resampler sets no limit


class FlamingoProcessor(ProcessorMixin):
    """Makes the model's inputs with the very object that made its training data, the ``Prompter``.

    Args:
        tokenizer: a tokenizer that knows the template's special tokens.
        prompter: the prompter, or what its ``to_dict`` gave.
        image_mean: of the model's vision encoder, three floats; with them ``pixel_values`` are normalised floats.
            None: they stay uint8 and the model normalises them.
        image_std: as ``image_mean``.
        num_frames: of a longer video that many frames are kept, evenly spaced.

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
        num_frames: int = DEFAULT_FRAMES,
    ):
        super().__init__(tokenizer)
        if (image_mean is None) != (image_std is None):
            raise ValueError(f'image_mean and image_std go together, got {image_mean} and {image_std}')
        if hasattr(tokenizer, 'legacy'):  # of LLaMA; not saved else, and text after a mark would get other ids
            tokenizer.init_kwargs['legacy'] = bool(tokenizer.legacy)
        self.prompter = Prompter.from_dict(prompter, tokenizer) if isinstance(prompter, dict) else prompter
        self.image_mean = None if image_mean is None else [float(x) for x in image_mean]
        self.image_std = None if image_std is None else [float(x) for x in image_std]
        self.num_frames = num_frames

    @classmethod
    def for_model(cls, prompter: Prompter, model: Any) -> FlamingoProcessor:
        """The processor of a ``Flamingo``: normalises as its vision encoder wants, thins videos to what it can see."""
        return cls(
            prompter.tokenizer,
            prompter,
            image_mean=model.vision_encoder.mean,
            image_std=model.vision_encoder.std,
            num_frames=model.config.resampler.get('max_frames') or DEFAULT_FRAMES,
        )

    @property
    def image_token(self) -> str:
        """The mark that stands for one medium."""
        return self.prompter.template.media_token

    @property
    def image_token_id(self) -> int:
        """Its id."""
        return self.prompter.media_token_id

    @property
    def stop_token_ids(self) -> list[int]:
        """Where an answer ends: at the template's stop token, or at the end of the text."""
        return list(dict.fromkeys([self.prompter.stop_token_id, self.tokenizer.eos_token_id]))

    @property
    def pad_token_id(self) -> int:
        """What rows are padded with."""
        return self.tokenizer.pad_token_id

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
            'plugin_modules': plugin_modules(prompter),
        }

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any) -> FlamingoProcessor:
        """Builds what ``from_pretrained`` read; see ``ProcessorMixin``."""
        require_plugins(processor_dict.get('plugin_modules', {}))
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
            processor_kwargs: further arguments of ``__call__``: ``padding_side``, ``max_length``, …
            **kwargs: the same.

        Returns:
            The text, or ``input_ids`` (B, S), or a ``BatchFeature`` of ``input_ids``, ``attention_mask`` and, where
            there are pictures, ``pixel_values`` (B, T, F, 3, H, W) and ``frame_mask`` (B, T, F).
        """
        for name, value in {'chat_template': chat_template, 'tools': tools, 'documents': documents}.items():
            if value:
                raise ValueError(f'{name} is not supported: the text is the business of {self.prompter.template!r}')
        batched = is_batch(conversation)
        conversations = conversation if batched else [conversation]
        dialogues = [read_messages(one, self.num_frames, load=tokenize) for one in conversations]
        how = {'generate': add_generation_prompt, 'continue_last': continue_final_message}
        if not tokenize:
            texts = [self.prompter.text(turns, **how) for turns in dialogues]
            return texts if batched else texts[0]
        rows = [self.prompter.encode(turns, **how) for turns in dialogues]
        options = {'return_tensors': return_tensors, **(processor_kwargs or {}), **kwargs}
        options.pop('add_special_tokens', None)  # the prompter has written all there are
        features = self._features(rows, supervision=return_assistant_tokens_mask, **options)
        return features if return_dict else features['input_ids']

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        videos: Any = None,
        padding: bool | str = True,
        padding_side: Literal['left', 'right'] = 'left',
        return_tensors: str | None = 'pt',
        add_special_tokens: bool = True,
        **options: Any,
    ) -> BatchFeature:
        """Makes the model's inputs of text that holds the marks already.

        Args:
            images: for one text a picture or a list with one entry per ``<image>`` mark: a picture, or a list of
                pictures (a set or a video: several frames under one mark). For several texts a list of such lists,
                or one flat list for all their marks in turn. Pictures are as ``mmgpt.hub.pictures`` takes them.
            text: a prompt as ``apply_chat_template(..., tokenize=False)`` writes it, or several. It gets the
                tokenizer's beginning-of-text and nothing else.
            videos: entries as of ``images``, for texts whose marks all stand for videos; they are thinned to
                ``num_frames``.
            padding: True pads to the longest row; anything else is refused where rows differ in length.
            padding_side: 'left', as generation needs.
            return_tensors: 'pt', 'np', or None for lists.
            add_special_tokens: False leaves the beginning-of-text out.
            options: ``truncation``, ``max_length`` (tokens of a row; what is beyond is cut, on the right, and media
                whose mark is cut go with it) and ``pad_to_multiple_of``, as Hugging Face's tokenizers take them.

        Raises:
            ValueError: the marks are not as many as the pictures.
        """
        if text is None:
            raise ValueError(f'text is missing; write {self.image_token!r} where the pictures stand')
        if images is not None and videos is not None:
            raise ValueError('give images or videos: with both, the text does not tell which mark stands for which')
        texts = [text] if isinstance(text, str) else list(text)
        marks = [one.count(self.image_token) for one in texts]
        are_videos = videos is not None
        shared = _per_text(videos if are_videos else images, marks, are_videos)
        media = [[self._medium(entry, are_videos) for entry in row] for row in shared]
        rows = [self._encode_text(one, row, add_special_tokens) for one, row in zip(texts, media, strict=True)]
        if padding not in (True, 'longest') and len({len(row.input_ids) for row in rows}) > 1:
            raise ValueError(f'the texts differ in length: they need padding=True, got {padding!r}')
        return self._features(rows, padding_side=padding_side, return_tensors=return_tensors, **options)

    def _encode_text(self, text: str, media: Sequence[Medium], bos: bool) -> Tokens:
        rendered = Rendered((Piece(text, bos=bos, eos=False),), tuple(media))
        return encode(rendered, self.tokenizer, self.image_token)

    def _medium(self, entry: Any, is_video: bool) -> Medium:
        if is_video and not isinstance(entry, Image.Image):
            return Medium(open_video(entry, self.num_frames))
        pictures = entry if isinstance(entry, list | tuple) else [entry]
        if not pictures:
            raise ValueError('a set of pictures needs at least one, got an empty list')
        return Medium(tuple(map(open_picture, pictures)))

    def _features(
        self,
        rows: Sequence[Tokens],
        supervision: bool = False,
        padding: bool | str = True,
        padding_side: Literal['left', 'right'] = 'left',
        return_tensors: str | None = 'pt',
        truncation: bool = False,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> BatchFeature:
        """Pads rows of ids and their media to one batch."""
        if truncation and max_length is not None:
            rows = [self._cut(row, max_length) for row in rows]

        def padded(values: list[Tensor], fill: int) -> Tensor:
            batch = pad_sequence(values, batch_first=True, padding_value=fill, padding_side=padding_side)
            more = -batch.shape[1] % (pad_to_multiple_of or 1)
            return torch.nn.functional.pad(batch, (more, 0) if padding_side == 'left' else (0, more), value=fill)

        batch = {
            'input_ids': padded([row.input_ids for row in rows], self.pad_token_id),
            'attention_mask': padded([torch.ones_like(row.input_ids) for row in rows], 0),
        }
        if supervision:
            batch['assistant_masks'] = padded([(row.labels != IGNORE_INDEX).long() for row in rows], 0)
        if any(row.media for row in rows):
            batch |= self._pixels([row.media for row in rows])
        if return_tensors is None:
            return BatchFeature({name: value.tolist() for name, value in batch.items()})
        return BatchFeature(batch).convert_to_tensors(return_tensors)

    def _cut(self, row: Tokens, length: int) -> Tokens:
        """The first tokens of a row, and the media of their marks."""
        ids = row.input_ids[:length]
        marks = int((ids == self.image_token_id).sum())
        return Tokens(ids, row.labels[:length], row.media[:marks], row.cut + len(row.input_ids) - len(ids))

    def _pixels(self, rows: Sequence[Sequence[Medium]]) -> dict[str, Tensor]:
        """``pixel_values`` (B, T, F, 3, H, W) and ``frame_mask`` (B, T, F) of the media of each row."""
        shape = len(rows), max(map(len, rows)), max(len(medium.frames) for row in rows for medium in row)
        mask = torch.zeros(shape, dtype=torch.bool)
        frames = []
        for i, row in enumerate(rows):
            for j, medium in enumerate(row):
                mask[i, j, : len(medium.frames)] = True
                frames += [self.prompter.frame(frame) for frame in medium.frames]
        pixels = torch.stack(frames)
        if self.image_mean is not None:
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.image_mean, self.image_std))
            pixels = (pixels / 255 - mean) / std
        values = pixels.new_zeros(*shape, *pixels.shape[1:])
        values[mask] = pixels
        return {'pixel_values': values, 'frame_mask': mask}


def _per_text(entries: Any, marks: Sequence[int], are_videos: bool) -> list[list]:
    """Shares the entries of ``images`` or ``videos`` out to the texts, as many as each has marks."""
    entries = [] if entries is None else list(entries) if isinstance(entries, list | tuple) else [entries]
    lengths = [len(entry) if isinstance(entry, list | tuple) else None for entry in entries]
    if lengths == list(marks):  # a list per text
        return [list(entry) for entry in entries]
    by_text = len(marks) > 1 and entries and None not in lengths and not are_videos  # a video is a list of its own
    if len(entries) == sum(marks) and not by_text:
        waiting = iter(entries)
        return [[next(waiting) for _ in range(count)] for count in marks]
    given = f'lists of {lengths}' if by_text else len(entries)
    raise ValueError(f'the number of <image> marks of each text is {list(marks)}, of pictures {given}')
