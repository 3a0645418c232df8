"""A vision transformer of open_clip as Hugging Face's CLIP: the same tensors under other names."""

from __future__ import annotations

import re

from torch import Tensor, nn
from transformers import CLIPVisionConfig

from mmgpt.hub.convert.report import ConversionError

RULES = (  # a name there, a name here; None: not a part of the tower that gives patches
    (r'class_embedding', 'embeddings.class_embedding'),
    (r'positional_embedding', 'embeddings.position_embedding.weight'),
    (r'conv1\.weight', 'embeddings.patch_embedding.weight'),
    (r'ln_pre\.(\w+)', r'pre_layrnorm.\1'),
    (r'ln_post\.(\w+)', r'post_layernorm.\1'),
    (r'transformer\.resblocks\.(\d+)\.ln_(\d)\.(\w+)', r'encoder.layers.\1.layer_norm\2.\3'),
    (r'transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)', r'encoder.layers.\1.self_attn.out_proj.\2'),
    (r'transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)', r'encoder.layers.\1.mlp.fc1.\2'),
    (r'transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)', r'encoder.layers.\1.mlp.fc2.\2'),
    (r'proj', None),
)
IN_PROJECTION = re.compile(r'transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)')  # query, key and value in one


def hugging_face_tensors(tower: nn.Module) -> dict[str, Tensor]:
    """The tensors of an open_clip tower by the names of ``transformers.CLIPVisionModel``.

    Raises:
        ConversionError: a tower that CLIP's class does not cover, such as one of timm.
    """
    tensors = {}
    for key, value in tower.state_dict().items():
        if match := IN_PROJECTION.fullmatch(key):
            for kind, part in zip('qkv', value.chunk(3), strict=True):
                tensors[f'encoder.layers.{match[1]}.self_attn.{kind}_proj.{match[2]}'] = part.clone()
            continue
        found = next(((match, name) for rule, name in RULES if (match := re.fullmatch(rule, key))), None)
        if found is None:
            raise ConversionError(f"the vision tower has a tensor {key!r}, for which Hugging Face's CLIP has no place")
        match, name = found
        if name is not None:
            tensors[match.expand(name)] = value
    return tensors


def hugging_face_config(tower: nn.Module) -> CLIPVisionConfig:
    """The configuration of ``transformers.CLIPVisionModel`` for an open_clip tower that it covers."""
    block = tower.transformer.resblocks[0]
    activation = 'gelu' if isinstance(block.mlp.gelu, nn.GELU) else 'quick_gelu'
    width, _, patch, _ = tower.conv1.weight.shape
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(block.mlp.c_fc.weight),
        num_hidden_layers=len(tower.transformer.resblocks),
        num_attention_heads=block.attn.num_heads,
        image_size=tower.image_size[0],
        patch_size=patch,
        hidden_act=activation,
        layer_norm_eps=block.ln_1.eps,
        projection_dim=tower.output_dim,
    )
