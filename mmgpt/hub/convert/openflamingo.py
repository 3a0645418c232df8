"""OpenFlamingo's checkpoints: resampler, gated blocks and input embedding, to be put into a language model."""

from __future__ import annotations

from pathlib import Path

from mmgpt.data.templates import OpenFlamingo
from mmgpt.hub.convert.assemble import (
    beneath,
    built,
    cross_attention_config,
    renamed,
    resampler_config,
    spacing,
    with_rows,
)
from mmgpt.hub.convert.files import read_state, require_absent
from mmgpt.hub.convert.layouts import OPEN_FLAMINGO, Renamer
from mmgpt.hub.convert.parts import load_language_model, load_tokenizer, load_vision_tower
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.convert.result import dtype_of, token_ids, write
from mmgpt.models.config import FlamingoConfig

CHECKPOINT = 'checkpoint.pt'  # as the releases name it


def convert(
    checkpoint: str,
    language_model: str,
    vision_model: str,
    out: str,
    tokenizer: str | None = None,
    cross_attn_every_n_layers: int | None = None,
    normalize_patches: bool | None = None,
    attend: str = 'previous',
    dtype: str | None = None,
) -> Report:
    """Converts a checkpoint of OpenFlamingo (arXiv 2308.01390) to a model folder.

    Args:
        checkpoint: a release (v1, v2), a file of its training, or a whole state dict: ``.pt`` or ``.safetensors``; or
            a folder with ``checkpoint.pt``.
        language_model: the folder or hub id of the language model it was trained with.
        vision_model: the vision tower it was trained with, as ``load_vision_tower`` takes it.
        out: the folder to write; must not exist.
        tokenizer: folder or hub id. Default: the language model's.
        cross_attn_every_n_layers: checked against the checkpoint. Default: read from it.
        normalize_patches: take the patches after the tower's final LayerNorm. The releases were trained before
            open_clip did so.
        attend: which image text sees, see ``mmgpt.models.media_span``; version 1 was evaluated with ``'next'``.
        dtype: of the result. Default: the widest of the inputs.

    Raises:
        OSError: an input is not there, or ``out`` is.
        ConversionError: the checkpoint is damaged or does not fit its parts.
    """
    require_absent(out)
    path = Path(checkpoint)
    state = read_state(path / CHECKPOINT if path.is_dir() else path)
    lm = load_language_model(language_model)
    report = Report()
    tensors = renamed(state, Renamer(OPEN_FLAMINGO, lm.layers), report)
    embedding = tensors.get(f'language_model.{lm.embedding}')
    if embedding is None:
        raise ConversionError(
            f'{path} lacks the input embedding lang_encoder.{lm.embedding}, which holds the added tokens'
        )
    every = spacing(tensors, lm.config.num_hidden_layers, cross_attn_every_n_layers)
    tower = load_vision_tower(vision_model, bool(normalize_patches))
    words = load_tokenizer(tokenizer or language_model, OpenFlamingo())
    template = OpenFlamingo(bos=words('a')['input_ids'][0] == words.bos_token_id)
    ids = token_ids(words, template, len(embedding), report)
    rows = lm.config.vocab_size = max(len(embedding), len(words))
    config = FlamingoConfig(
        vision_encoder=tower.config,
        resampler=resampler_config(tensors),
        text_config=lm.config,
        cross_attention=cross_attention_config(tensors, every - 1),
        cross_attn_every_n_layers=every,
        attend=attend,
        without_media='zero_attention',
        media_token_id=ids[template.media_token],
    )
    base, own = (with_rows(source, lm, rows, report) for source in (beneath(lm, tensors), tensors))
    model = built(config, (base, tower.tensors, own), report, dtype_of(dtype))
    return write(out, model, words, template, report)
