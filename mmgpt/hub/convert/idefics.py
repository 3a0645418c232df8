"""Hugging Face's Idefics, the other published model of this architecture (OBELICS, arXiv 2306.16527)."""

from __future__ import annotations

import re
from typing import Any

from transformers import IdeficsConfig

EMBEDDING = 'language_model.model.embed_tokens.weight'
HEAD = 'language_model.lm_head.weight'
CONSTANTS = re.compile(r'\.rotary_emb\.inv_freq$|\.embeddings\.position_ids$')  # buffers that older versions stored

# The beginning of a name here, {} standing for a number, and there.
BEGINNINGS = {
    'vision_encoder.tower.': 'model.vision_model.',
    'language_model.': '',
    'resampler.layers.{}.': 'model.perceiver_resampler.blocks.{}.',
    'resampler.': 'model.perceiver_resampler.',
    'gated_blocks.{}.': 'model.gated_cross_attn_layers.{}.',
}
# What follows it, where that differs; a tensor with several names there is those, one below the other.
ENDINGS = {
    'resampler.layers.{}.': {
        '0.norm_media': ('0.context_layer_norm',),
        '0.norm_latents': ('0.latents_layer_norm',),
        '0.norm_q': ('0.q_layer_norm',),
        '0.norm_k': ('0.k_layer_norm',),
        '0.to_q': ('0.q_proj',),
        '0.to_kv': ('0.k_proj', '0.v_proj'),
        '0.to_out': ('0.output_proj',),
        '1.0': ('1.ln',),
        '1.1': ('1.fc',),
        '1.3': ('1.c_proj',),
    },
    'resampler.': {'norm': ('layer_norm',)},
    'gated_blocks.{}.': {
        'attn.norm': ('input_layernorm',),
        'attn.norm_q': ('cross_attn.q_layer_norm',),
        'attn.norm_k': ('cross_attn.k_layer_norm',),
        'attn.to_q': ('cross_attn.q_proj',),
        'attn.to_kv': ('cross_attn.k_proj', 'cross_attn.v_proj'),
        'attn.to_out': ('cross_attn.o_proj',),
        'ff.norm': ('post_attention_layernorm',),
        'ff.gate': ('mlp.gate_proj',),
        'ff.up': ('mlp.up_proj',),
        'ff.down': ('mlp.down_proj',),
        'attn_gate': ('alpha_cross_attn',),
        'ff_gate': ('alpha_dense',),
    },
}


def model_config(published: IdeficsConfig, media_token_id: int) -> dict[str, Any]:
    """The arguments of ``FlamingoConfig`` for a published configuration.

    Its embedding and head, each kept in two parts there, are whole here. Its decoder layers are LLaMA's.
    """
    vision, perceiver = published.vision_config, published.perceiver_config
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
    same = (
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
        'dtype',
    )
    text = {name: getattr(published, name) for name in same}
    text['vocab_size'] = published.vocab_size + published.additional_vocab_size
    shape = ('embed_dim', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'num_channels')
    shape += ('image_size', 'patch_size', 'hidden_act', 'layer_norm_eps')
    return {
        'vision_encoder': {'type': 'IdeficsVision', 'config': {name: getattr(vision, name) for name in shape}},
        'resampler': resampler,
        'text_config': {'model_type': 'llama', **text},
        'cross_attention': {
            'type': 'IdeficsCrossAttention',
            'heads': published.num_attention_heads,
            'feedforward_width': published.intermediate_size,
            'activation': published.hidden_act,
            'head_norms': published.qk_layer_norms,
            'gates': {'float': 'scalar'}.get(published.alpha_type, published.alpha_type),
            'eps': published.rms_norm_eps,
        },
        'cross_attn_every_n_layers': published.cross_layer_interval,
        'cross_attn_first_layer': 0,
        'attend': 'previous',
        'without_media': 'zero_attention',
        'media_token_id': media_token_id,
    }


def published_names(name: str, published: IdeficsConfig) -> tuple[str, ...]:
    """The tensors of a published checkpoint that one of ours holds, one below the other.

    Example:
        >>> published_names('gated_blocks.4.attn.to_kv.weight', IdeficsConfig(cross_layer_interval=4))  # doctest: +SKIP
        ('model.gated_cross_attn_layers.1.cross_attn.k_proj.weight', '….v_proj.weight')
    """
    added = published.additional_vocab_size > 0
    if name == EMBEDDING:
        return ('model.embed_tokens.weight', *['model.embed_tokens.additional_embedding.weight'] * added)
    if name == HEAD:
        return ('lm_head.weight', *['lm_head.additional_fc.weight'] * added)
    for here, there in BEGINNINGS.items():
        if match := re.match(re.escape(here).replace(r'\{\}', r'(\d+)'), name):
            break
    else:
        raise KeyError(name)
    numbers = [int(number) for number in match.groups()]
    if here.startswith('gated_blocks'):
        numbers = [number // published.cross_layer_interval for number in numbers]
    rest, beginning = name[match.end() :], there.format(*numbers)
    for ending, others in ENDINGS.get(here, {}).items():
        if rest == ending or rest.startswith(f'{ending}.'):
            return tuple(beginning + other + rest[len(ending) :] for other in others)
    return (beginning + rest,)
