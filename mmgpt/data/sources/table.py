"""The short names of data sets: what the data tools take as ``--source``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmgpt.data.builder import build_image_store
from mmgpt.data.sources.base import Source
from mmgpt.registry import SOURCES


class Published(NamedTuple):
    """What a data set's name stands for."""

    source: Mapping[str, Any]  # the config of its source, but for its files
    template: Mapping[str, Any] = {'type': 'MultiModalGPT'}  # the one it is trained with, unless another is asked for
    files: str = 'annotations'  # the source's argument for its annotation files


TABLE: dict[str, Published] = {
    'mimicit': Published({'type': 'MimicIt'}, {'type': 'Otter'}, 'instructions'),
    'mimicit_hub': Published({'type': 'MimicItHub'}, {'type': 'Otter'}),
    'messages': Published({'type': 'Messages'}, {'type': 'ChatTemplate'}),
    'llava': Published({'type': 'Llava'}),
    'llava_dial': Published({'type': 'Llava', 'dialogue': True}),
    'coco_dial': Published({'type': 'Llava', 'dialogue': True}),
    'minigpt4': Published({'type': 'MiniGPT4'}),
    'aokvqa': Published({'type': 'AOkVqa'}),
    'coco_caption': Published({'type': 'CocoCaption'}),
    'ocr_vqa': Published({'type': 'OcrVqa'}),
    'vqa': Published({'type': 'Vqa'}),
    'vqav2': Published({'type': 'Vqa'}),
    'okvqa': Published({'type': 'Vqa'}),
    'text_ocr': Published({'type': 'TextVqa'}),
    'textvqa': Published({'type': 'TextVqa'}),
    'gqa': Published({'type': 'Gqa'}),
    'clevr': Published({'type': 'Clevr'}),
    'nlvrv1': Published({'type': 'Nlvr'}),
    'nlvr': Published({'type': 'Nlvr'}),
    'nlvrv2': Published({'type': 'Nlvr2'}),
    'nlvr2': Published({'type': 'Nlvr2'}),
    'snlive': Published({'type': 'SnliVe'}),
    'snli_ve': Published({'type': 'SnliVe'}),
    'image_text_tars': Published({'type': 'ImageTextTars'}, {'type': 'Interleaved'}, 'shards'),
    'mmc4': Published({'type': 'Mmc4'}, {'type': 'Interleaved'}, 'shards'),
    'dolly': Published({'type': 'Dolly'}),
    'alpaca': Published({'type': 'Alpaca'}),
    'alpaca_gpt4': Published({'type': 'Alpaca'}),
    'baize': Published({'type': 'Baize'}),
}


def published(name: str) -> Published:
    """What a name stands for.

    Raises:
        KeyError: there is no such name; the message names the closest.
    """
    if name not in TABLE:
        close = difflib.get_close_matches(name, TABLE, n=3, cutoff=0.5)
        near = f'did you mean {" or ".join(map(repr, close))}?' if close else f'there are {", ".join(TABLE)}'
        raise KeyError(f'there is no data set named {name!r}; {near}')
    return TABLE[name]


def source_config(
    name: str, annotations: str | Path | Sequence[str | Path], images: str | Path | None = None
) -> dict[str, Any]:
    """The config of a source in a ``train_dataloader``.

    Args:
        name: of the data set.
        annotations: its file, or several where it takes them.
        images: folder or file of the pictures.

    Example:
        >>> source_config('llava_dial', 'conversation_58k.json', 'coco/train2017')['dialogue']
        True
    """
    entry = published(name)
    files = str(annotations) if isinstance(annotations, str | Path) else [str(path) for path in annotations]
    pictures = {} if images is None else {'images': str(images)}
    return {**entry.source, entry.files: files, **pictures}


def source_from_files(
    name: str, annotations: str | Path | Sequence[str | Path], images: str | Path | None = None
) -> Source:
    """The source of a data set's name; arguments as of :func:`source_config`."""
    config = source_config(name, annotations, images)
    if images is not None:
        config['images'] = build_image_store(images)
    return SOURCES.build(config)
