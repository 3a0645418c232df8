"""Hugging Face's Idefics in the sizes of the digits demo, which gets our batches, questions and first weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmgpt.hub.convert.idefics import LAYERS, LAYOUT
from mmgpt.hub.convert.layouts import Renamer
from mmgpt.models.vision_encoders.normalisation import normalise
from mmgpt.structures import Batch


def idefics_like(model: Mapping[str, Any], ours: nn.Module, attention: str = 'eager', start: str = 'ours') -> nn.Module:
    """Idefics of the sizes of a demo's model, all of it trained.

    Its gated blocks stand before the first layer of a group where ours stand before the last, their feed-forward is
    LLaMA's, of its width, and the resampler's activation is ReLU: that is Idefics. With our start all else that there
    is in both begins with our weights and gates; the feed-forwards of the gated blocks as PyTorch begins linear layers,
    as ours.

    Args:
        model: the demo's ``model``.
        ours: built of it.
        attention: 'eager' or 'sdpa'.
        start: 'ours', or 'own': the weights and gates that transformers gives a new Idefics.
    """
    from transformers import IdeficsConfig, IdeficsForVisionText2Text

    vision, text, resampler = model['vision_encoder']['config'], model['language_decoder']['config'], model['resampler']
    words = ours.get_input_embeddings().num_embeddings
    settings = ours.generation_config
    peer = IdeficsForVisionText2Text(
        IdeficsConfig(
            vocab_size=words,
            hidden_size=text['hidden_size'],
            intermediate_size=text['intermediate_size'],
            num_hidden_layers=text['num_hidden_layers'],
            num_attention_heads=text['num_attention_heads'],
            max_position_embeddings=text['max_position_embeddings'],
            tie_word_embeddings=text['tie_word_embeddings'],
            cross_layer_interval=model['cross_attn_every_n_layers'],
            alpha_initializer='ones' if start == 'ours' else 'zeros',
            use_cache=False,  # in training
            freeze_text_layers=False,
            freeze_vision_layers=False,
            use_resampler=True,
            pad_token_id=settings.pad_token_id,
            bos_token_id=settings.bos_token_id,
            vision_config=dict(
                embed_dim=vision['hidden_size'],
                intermediate_size=vision['intermediate_size'],
                num_hidden_layers=vision['num_hidden_layers'],
                num_attention_heads=vision['num_attention_heads'],
                image_size=vision['image_size'],
                patch_size=vision['patch_size'],
                hidden_act='quick_gelu',  # CLIP's own, as ours has it
            ),
            perceiver_config=dict(
                use_resampler=True,
                resampler_depth=resampler['depth'],
                resampler_n_latents=resampler['num_latents'],
                resampler_n_heads=resampler['heads'],
                resampler_head_dim=resampler['head_width'],
            ),
            attn_implementation=attention,
        )
    )
    for name in ('bos_token_id', 'eos_token_id', 'pad_token_id'):
        setattr(peer.generation_config, name, getattr(settings, name))
    if start == 'ours':
        begin_as(peer, ours, model['cross_attn_every_n_layers'])
    return peer


@torch.no_grad()
def begin_as(peer: nn.Module, ours: nn.Module, every: int) -> None:
    """Gives a peer our weights wherever both have the same part.

    Args:
        peer: an Idefics.
        ours: a model of the same sizes.
        every: layers from one gated block to the next.

    Raises:
        ValueError: another part than a gated block's feed-forward has no counterpart.
    """
    names, state = Renamer(LAYOUT, LAYERS), ours.state_dict()
    for theirs, parameter in peer.named_parameters():
        name = names.ours(theirs) or theirs
        if name.startswith('gated_blocks.'):
            _, number, rest = name.split('.', 2)
            name = f'gated_blocks.{every * (int(number) + 1) - 1}.{rest}'
        if name not in state:
            name = name.replace('.vision_model.', '.')
        if name in state:
            value = state[name]
            if theirs.endswith(('k_proj.weight', 'v_proj.weight')) and name.endswith('to_kv.weight'):
                value = value.chunk(2)[theirs.endswith('v_proj.weight')]
            parameter.copy_(value.view_as(parameter))
        elif name.startswith('gated_blocks.') and '.ff.' in name:
            if parameter.ndim > 1:
                nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))  # as nn.Linear; its norm is at 1 already
        else:
            raise ValueError(f'{theirs} has no counterpart in our model (looked for {name})')


class IdeficsBatch:
    """Turns our batches into those that Idefics takes: pictures by row, and which of them each token looks at.

    Args:
        mark: the id of ``<image>``.
        mean, std: of the pictures.
    """

    def __init__(self, mark: int, mean: list[float], std: list[float]) -> None:
        self.mark, self.mean, self.std = mark, list(mean), list(std)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """A padded batch of rows of one sample each, whose media are one picture each.

        Raises:
            ValueError: a medium has several frames, whose order Idefics could not tell.
        """
        ids, places = batch['input_ids'], batch['media_frames']
        mask = (batch['segment_ids'] > 0).long()
        if not places.numel():  # Idefics insists on a picture, which nothing has to look at
            places = places.new_full((len(ids), 1, 1), -1)
        if places.shape[2] > 1:
            raise ValueError(f'Idefics takes pictures, got a medium of {places.shape[2]} frames: leave its source out')
        frames = batch.get('frames')
        frames = torch.zeros(0, 3, 1, 1) if frames is None else normalise(frames, self.mean, self.std, torch.float32)
        frames = torch.cat([frames, frames.new_zeros(1, *frames.shape[1:])])  # the place -1: none
        return {
            'input_ids': ids,
            'attention_mask': mask,
            'pixel_values': frames[places[..., 0]],
            'image_attention_mask': looks(ids, mask, self.mark, places.shape[1]),
            'labels': batch['labels'],
        }


def looks(ids: Tensor, mask: Tensor, mark: int, images: int) -> Tensor:
    """(R, S, images) int64: each token looks at the picture before it."""
    seen = (ids == mark).cumsum(1).unsqueeze(-1)
    return ((torch.arange(1, images + 1) == seen) & mask.bool().unsqueeze(-1)).long()


class AnsweringIdefics:
    """An Idefics that is asked as our models are, by ``mmgpt.evaluation.answering.answer``.

    Args:
        peer: the model.
        mark: the id of ``<image>``, which it does not write either.
    """

    def __init__(self, peer: nn.Module, mark: int) -> None:
        self.peer, self.mark = peer, mark

    def parameters(self):
        """Of the model."""
        return self.peer.parameters()

    def generate(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor, frame_mask: Tensor, **kwargs: Any
    ) -> Tensor:
        """As ``Flamingo.generate``, of media of one normalised picture each."""
        return self.peer.generate(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values[:, :, 0],
            image_attention_mask=looks(input_ids, attention_mask, self.mark, pixel_values.shape[1]),
            suppress_tokens=[self.mark],
            use_cache=True,
            **kwargs,
        )
