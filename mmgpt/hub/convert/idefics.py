"""Hugging Face's Idefics, the other published model of this architecture (arXiv 2306.16527)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import IdeficsConfig, PreTrainedTokenizerBase

from mmgpt.data.builder import read_tokenizer
from mmgpt.data.templates import Idefics
from mmgpt.data.tokens import add_special_tokens
from mmgpt.hub.convert.assemble import built, placed, with_rows
from mmgpt.hub.convert.files import read_folder, read_json, require_absent
from mmgpt.hub.convert.layouts import CONSTANTS, Layout, Renamer
from mmgpt.hub.convert.parts import CLIP_ARGUMENTS, language_model_of_config, picture_statistics
from mmgpt.hub.convert.report import ConversionError, Report
from mmgpt.hub.convert.result import dtype_of, write
from mmgpt.models.config import FlamingoConfig

LAYERS = 'model.layers'
# Two tensors that come to one name are the rows of one.
LAYOUT = Layout(
    'Idefics',
    (
        ('model.vision_model.', 'vision_encoder.tower.vision_model.'),
        ('model.perceiver_resampler.blocks.#.0.context_layer_norm.', 'resampler.layers.#.0.norm_media.'),
        ('model.perceiver_resampler.blocks.#.0.latents_layer_norm.', 'resampler.layers.#.0.norm_latents.'),
        ('model.perceiver_resampler.blocks.#.0.q_layer_norm.', 'resampler.layers.#.0.norm_q.'),
        ('model.perceiver_resampler.blocks.#.0.k_layer_norm.', 'resampler.layers.#.0.norm_k.'),
        ('model.perceiver_resampler.blocks.#.0.q_proj.', 'resampler.layers.#.0.to_q.'),
        ('model.perceiver_resampler.blocks.#.0.k_proj.', 'resampler.layers.#.0.to_kv.'),
        ('model.perceiver_resampler.blocks.#.0.v_proj.', 'resampler.layers.#.0.to_kv.'),
        ('model.perceiver_resampler.blocks.#.0.output_proj.', 'resampler.layers.#.0.to_out.'),
        ('model.perceiver_resampler.blocks.#.1.ln.', 'resampler.layers.#.1.0.'),
        ('model.perceiver_resampler.blocks.#.1.fc.', 'resampler.layers.#.1.1.'),
        ('model.perceiver_resampler.blocks.#.1.c_proj.', 'resampler.layers.#.1.3.'),
        ('model.perceiver_resampler.layer_norm.', 'resampler.norm.'),
        ('model.perceiver_resampler.', 'resampler.'),
        ('model.gated_cross_attn_layers.#.input_layernorm.', 'gated_blocks.#.attn.norm.'),
        ('model.gated_cross_attn_layers.#.cross_attn.q_layer_norm.', 'gated_blocks.#.attn.norm_q.'),
        ('model.gated_cross_attn_layers.#.cross_attn.k_layer_norm.', 'gated_blocks.#.attn.norm_k.'),
        ('model.gated_cross_attn_layers.#.cross_attn.q_proj.', 'gated_blocks.#.attn.to_q.'),
        ('model.gated_cross_attn_layers.#.cross_attn.k_proj.', 'gated_blocks.#.attn.to_kv.'),
        ('model.gated_cross_attn_layers.#.cross_attn.v_proj.', 'gated_blocks.#.attn.to_kv.'),
        ('model.gated_cross_attn_layers.#.cross_attn.o_proj.', 'gated_blocks.#.attn.to_out.'),
        ('model.gated_cross_attn_layers.#.post_attention_layernorm.', 'gated_blocks.#.ff.norm.'),
        ('model.gated_cross_attn_layers.#.mlp.gate_proj.', 'gated_blocks.#.ff.gate.'),
        ('model.gated_cross_attn_layers.#.mlp.up_proj.', 'gated_blocks.#.ff.up.'),
        ('model.gated_cross_attn_layers.#.mlp.down_proj.', 'gated_blocks.#.ff.down.'),
        ('model.gated_cross_attn_layers.#.alpha_cross_attn', 'gated_blocks.#.attn_gate'),
        ('model.gated_cross_attn_layers.#.alpha_dense', 'gated_blocks.#.ff_gate'),
        ('model.embed_tokens.additional_embedding.', 'language_model.model.embed_tokens.'),
        ('lm_head.additional_fc.', 'language_model.lm_head.'),
        ('model.', 'language_model.model.'),
        ('lm_head.', 'language_model.lm_head.'),
    ),
    CONSTANTS,
)
VISION = tuple('embed_dim' if name == 'hidden_size' else name for name in CLIP_ARGUMENTS)  # as Idefics calls it
LLAMA = (
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'hidden_act',
    'rms_norm_eps',
    'max_position_embeddings',
    'rope_parameters',
    'initializer_range',
    'tie_word_embeddings',
    'use_cache',
    'pad_token_id',
    'bos_token_id',
    'eos_token_id',
)


def convert(folder: str, out: str, tokenizer: str | None = None, dtype: str | None = None) -> Report:
    """Converts an Idefics (9B, 80B, instruct or not, tuned by Otter or not) to a model folder.

    Its decoder is LLaMA's, its embedding and head, each kept in two parts there, become whole.

    Args:
        folder: as ``save_pretrained`` wrote it.
        out: the folder to write; must not exist.
        tokenizer: folder or hub id. Default: the folder's own.
        dtype: of the result. Default: the widest of the checkpoint's.

    Raises:
        OSError: an input is not there, or ``out`` is.
        ConversionError: the checkpoint is damaged, or its weights are not those of its configuration.
    """
    require_absent(out)
    source = Path(folder).expanduser()
    published = _read_config(source)
    report = Report()
    tensors = whole_tensors(read_folder(source), published, report)
    words, template = _tokenizer(tokenizer or str(source), published)
    config = model_config(published, words.convert_tokens_to_ids(template.media_token), picture_statistics(source))
    tokens = 1 + max(words.get_vocab().values())
    if tokens > config.text_config.vocab_size:
        tensors = with_rows(tensors, language_model_of_config(config.text_config.to_dict()), tokens, report)
        config.text_config.vocab_size = tokens
    model = built(config, [tensors], report, dtype_of(dtype))
    return write(out, model, words, template, report, resize='squash')


def model_config(
    published: IdeficsConfig, media_token_id: int, pictures: Mapping[str, Any] | None = None
) -> FlamingoConfig:
    """The configuration of a published one's counterpart.

    Args:
        published: its dropout, 0 in the published models, is not carried over.
        media_token_id: the id of ``<image>``.
        pictures: ``mean`` and ``std`` of the pictures it was trained on. Default: CLIP's.
    """
    vision, perceiver = published.vision_config, published.perceiver_config
    text = {name: getattr(published, name) for name in LLAMA}
    resampler: dict[str, Any] = {'type': 'AllPatches'}
    if published.use_resampler:
        resampler = {
            'type': 'PerceiverResampler',
            'depth': perceiver.resampler_depth,
            'num_latents': perceiver.resampler_n_latents,
            'heads': perceiver.resampler_n_heads,
            'head_width': perceiver.resampler_head_dim,
            'activation': 'relu',
            'head_norms': perceiver.qk_layer_norms_perceiver,
        }
    return FlamingoConfig(
        vision_encoder={
            'type': 'IdeficsVision',
            'config': {name: getattr(vision, name) for name in VISION},
            **(pictures or {}),
        },
        resampler=resampler,
        text_config={
            'model_type': 'llama',
            'vocab_size': published.vocab_size + published.additional_vocab_size,
            **text,
        },
        cross_attention={
            'type': 'IdeficsCrossAttention',
            'heads': published.num_attention_heads,
            'feedforward_width': published.intermediate_size,
            'activation': published.hidden_act,
            'head_norms': published.qk_layer_norms,
            'gates': 'vector' if published.alpha_type == 'vector' else 'scalar',
            'eps': published.rms_norm_eps,
        },
        cross_attn_every_n_layers=published.cross_layer_interval,
        cross_attn_first_layer=0,
        attend='previous',
        without_media='zero_attention',
        media_token_id=media_token_id,
    )


def whole_tensors(state: Mapping[str, Tensor], published: IdeficsConfig, report: Report) -> dict[str, Tensor]:
    """The tensors of a published checkpoint by our names; what has no place is noted as unexpected."""
    parts: dict[str, list[Tensor]] = defaultdict(list)
    keys = sorted(state, key=lambda key: ('.additional_' in key, key))  # keys before values, added tokens last
    for key, name in placed(keys, Renamer(LAYOUT, LAYERS), report):
        parts[name].append(state[key])
    tensors = {}
    for name, tensor in ((name, torch.cat(rows) if len(rows) > 1 else rows[0]) for name, rows in parts.items()):
        if name.startswith('gated_blocks.'):
            _, number, rest = name.split('.', 2)
            name = f'gated_blocks.{int(number) * published.cross_layer_interval}.{rest}'
        tensors[name] = tensor.flatten() if name.endswith('_gate') else tensor
    return tensors


def _read_config(folder: Path) -> IdeficsConfig:
    fields = read_json(folder / 'config.json')
    if fields.get('model_type') != 'idefics':
        raise ConversionError(
            f"{folder} holds a model of type {fields.get('model_type')!r}; expected 'idefics', the first of that name"
        )
    try:
        return IdeficsConfig(**fields)
    except (ValueError, TypeError) as error:
        raise ConversionError(f'{folder / "config.json"} is no configuration of Idefics: {error}') from error


def _tokenizer(name: str, published: IdeficsConfig) -> tuple[PreTrainedTokenizerBase, Idefics]:
    """The tokenizer, and the template of which it has the tokens."""
    words = read_tokenizer(name)
    known = words.get_vocab()
    template = Idefics(end_of_utterance='<end_of_utterance>' in known, answer_token='<answer>' in known)
    if words.pad_token_id in (None, words.eos_token_id) and published.pad_token_id not in (None, words.eos_token_id):
        words.pad_token = words.convert_ids_to_tokens(published.pad_token_id)
    add_special_tokens(words, template)
    return words, template
