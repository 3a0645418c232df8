"""Makes a model folder of a converted model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Template
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.hub.convert.files import new_path
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.io import save_folder
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.flamingo import Flamingo


def write(
    out: str | Path,
    model: Flamingo,
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    report: Report,
    resize: str = 'short_side_crop',
) -> Report:
    """Writes the folder ``out``: model, processor and ``conversion_report.json``; it is whole or not there.

    Pictures are resized as ``resize`` says, see ``ImageTransform``. Default: as CLIP's own processor does.

    Raises:
        FileExistsError: ``out`` exists.
    """
    transform = ImageTransform(model.vision_encoder.image_size, resize)
    processor = FlamingoProcessor.for_model(Prompter(template, tokenizer, transform), model)
    with new_path(out) as folder:
        save_folder(folder, model, processor)
        report.save(folder)
    return report


def token_ids(tokenizer: PreTrainedTokenizerBase, template: Template, rows: int, report: Report) -> dict[str, int]:
    """The ids of the template's tokens. A vocabulary of another size than the embedding's is noted in the report.

    Raises:
        ConversionError: a mark of a medium, or of an answer's end, for which the checkpoint's embedding has no row.
    """
    if abs(len(tokenizer) - rows) > 1:  # one more or less: the padding token
        report.notes.append(f'the checkpoint has {rows} rows in its embedding, the tokenizer {len(tokenizer)} tokens')
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in template.special_tokens}
    for token in filter(None, (template.media_token, template.stop_token)):
        if (number := ids[token]) >= rows:
            raise ConversionError(
                f'the tokenizer {tokenizer.name_or_path!r} gives {token!r} the id {number}, the embedding of the '
                f'checkpoint has {rows} rows: it was trained with another tokenizer'
            )
    return ids


def dtype_of(name: str | None) -> torch.dtype | None:
    """The floating type of a name such as ``bfloat16``.

    Raises:
        ValueError: there is no such type.
    """
    found: Any = getattr(torch, name.removeprefix('torch.'), None) if name else None
    if name and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ValueError(f'--dtype must be a floating type of torch, such as float32 or bfloat16; got {name!r}')
    return found
