"""Gated cross-attention from text to media."""

from mmgpt.models.cross_attention.gated import GatedBlock as GatedBlock
from mmgpt.models.cross_attention.gated import GatedCrossAttention as GatedCrossAttention
from mmgpt.models.cross_attention.gated import MaskedCrossAttention as MaskedCrossAttention
from mmgpt.models.cross_attention.gated import span_mask as span_mask
from mmgpt.models.cross_attention.idefics import IdeficsCrossAttention as IdeficsCrossAttention
from mmgpt.models.media_span import media_span as media_span  # part of this package's face
