"""Models to compare: Hugging Face's Idefics, and ours with the very same weights."""

from __future__ import annotations

import torch
from torch import nn

LENGTH = 2048  # positions of a text
ADDED = 3  # tokens with rows of their own, trained while the rest of the vocabulary stands still

# Small enough for two cores, and shaped like the published models: a tower that costs as much as a part of the text,
# and a vocabulary that is large beside the width.
SIZES = dict(
    image=224,
    patch=16,
    vision=dict(width=384, layers=12, heads=6, inner=1536),
    text=dict(width=512, layers=8, heads=8, inner=1376, vocabulary=32_000),
    resampler=dict(depth=6, latents=64, heads=8, head_width=64),
)
MARK = SIZES['text']['vocabulary'] + ADDED - 1  # the id of <image>, the last of the added tokens


def clip_arguments(sizes: dict) -> dict:
    """Of ``CLIPVisionConfig``, for a tower of these sizes."""
    vision = sizes['vision']
    return dict(
        hidden_size=vision['width'],
        intermediate_size=vision['inner'],
        num_hidden_layers=vision['layers'],
        num_attention_heads=vision['heads'],
        image_size=sizes['image'],
        patch_size=sizes['patch'],
    )


def idefics(every: int = 1, sizes: dict = SIZES):
    """Idefics of transformers with random weights and open gates; attention by SDPA.

    Args:
        every: a gated block before every so many layers.
        sizes: as ``SIZES``.
    """
    from transformers import IdeficsConfig, IdeficsForVisionText2Text

    torch.manual_seed(0)
    vision, text, resampler = sizes['vision'], sizes['text'], sizes['resampler']
    config = IdeficsConfig(
        vocab_size=text['vocabulary'],
        additional_vocab_size=ADDED,
        hidden_size=text['width'],
        intermediate_size=text['inner'],
        num_hidden_layers=text['layers'],
        num_attention_heads=text['heads'],
        max_position_embeddings=LENGTH,
        cross_layer_interval=every,
        alpha_initializer='ones',
        use_resampler=True,
        vision_config=dict(
            embed_dim=vision['width'],
            intermediate_size=vision['inner'],
            num_hidden_layers=vision['layers'],
            num_attention_heads=vision['heads'],
            image_size=sizes['image'],
            patch_size=sizes['patch'],
        ),
        perceiver_config=dict(
            use_resampler=True,
            resampler_depth=resampler['depth'],
            resampler_n_latents=resampler['latents'],
            resampler_n_heads=resampler['heads'],
            resampler_head_dim=resampler['head_width'],
        ),
        attn_implementation='sdpa',
    )
    model = IdeficsForVisionText2Text(config)
    for name, parameter in model.named_parameters():
        parts = ('perceiver_resampler', 'gated_cross_attn_layers', 'additional_embedding', 'additional_fc')
        parameter.requires_grad_(any(part in name for part in parts))
    return model


def ours(peer):
    """The same model as ours: the same weights, the same parts trained.

    Args:
        peer: an Idefics.
    """
    from mmgpt.hub.convert.idefics import model_config, whole_tensors
    from mmgpt.hub.convert.report import Report
    from mmgpt.models import Flamingo
    from mmgpt.models.new_tokens import train_new_rows

    rows = peer.config.vocab_size + peer.config.additional_vocab_size
    model = Flamingo(model_config(peer.config, rows - 1))
    model.load_state_dict(whole_tensors(peer.state_dict(), peer.config, Report()))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(('resampler', 'gated_blocks')))
    train_new_rows(model, range(peer.config.vocab_size, rows))
    return model


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def gradients_by_our_names(model, peer) -> dict[str, torch.Tensor]:
    """The gradients of a peer under the names of our parameters."""
    from mmgpt.hub.convert.idefics import whole_tensors
    from mmgpt.hub.convert.report import Report

    state = {name: p.grad for name, p in peer.named_parameters() if p.grad is not None}
    made = whole_tensors(state, peer.config, Report())
    rows = {
        'language_model.model.embed_tokens.weight': 'new_token_rows.rows',
        'language_model.lm_head.weight': 'new_token_rows.head_rows',
    }
    return {rows.get(name, name): gradient for name, gradient in made.items()}


def mllama(every: int = 1, sizes: dict = SIZES):
    """Mllama of transformers with random weights and open gates; attention by SDPA.

    Its decoder, its cross-attention and where that stands are as in ``idefics``. It has no resampler: its tower of the
    same size cuts a picture into so many patches that they and its class token are about as many as the latents.

    Args:
        every: a cross-attention layer before every so many layers.
        sizes: as ``SIZES``.
    """
    from transformers import MllamaConfig, MllamaForConditionalGeneration

    torch.manual_seed(0)
    vision, text = sizes['vision'], sizes['text']
    looking = [layer + number for number, layer in enumerate(range(0, text['layers'], every))]
    side = round(sizes['resampler']['latents'] ** 0.5)
    config = MllamaConfig(
        vision_config=dict(
            hidden_size=vision['width'],
            intermediate_size=vision['inner'],
            num_hidden_layers=vision['layers'],
            num_global_layers=1,
            attention_heads=vision['heads'],
            vision_output_dim=2 * vision['width'],
            intermediate_layers_indices=[vision['layers'] - 1],
            image_size=sizes['image'],
            patch_size=sizes['image'] // side,
            max_num_tiles=1,
            supported_aspect_ratios=[[1, 1]],
        ),
        text_config=dict(
            vocab_size=text['vocabulary'] + ADDED,
            hidden_size=text['width'],
            intermediate_size=text['inner'],
            num_hidden_layers=text['layers'] + len(looking),
            num_attention_heads=text['heads'],
            num_key_value_heads=text['heads'],
            max_position_embeddings=LENGTH,
            cross_attention_layers=looking,
            rope_parameters={'rope_type': 'default', 'rope_theta': 10_000.0},
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=text['vocabulary'] + ADDED - 1,
        attn_implementation='sdpa',
    )
    model = MllamaForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if name.endswith('gate'):
            torch.nn.init.ones_(parameter)
    return model
