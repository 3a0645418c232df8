"""What gated blocks are made of, and Flamingo's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from mmgpt.models.attention import attention_weights, dot_product_attention
from mmgpt.models.feedforward import feed_forward
from mmgpt.models.pieces import attend_pieces
from mmgpt.registry import CROSS_ATTENTIONS
from mmgpt.structures import Grid, Media


def span_mask(span: Tensor, media: int, latents: int) -> Tensor:
    """The boolean attention mask of a span, for all layers of one call.

    A token that may see nothing gets a row of True: no kernel then meets an empty softmax, and the attention's result
    for that token is replaced by 0 (``MaskedCrossAttention``).

    Args:
        span: (R, S, 2), as ``media_span`` gives it.
        media: media per row, padded ones included.
        latents: latents per medium.

    Returns:
        (R, 1, S, media * latents) bool.
    """
    number = torch.arange(media, device=span.device)
    lo, hi = span[..., :1], span[..., 1:]
    visible = (number >= lo) & (number < hi) | (hi <= lo)
    return visible.repeat_interleave(latents, -1).unsqueeze(1)


class MaskedCrossAttention(nn.Module):
    """Text attends to the latents of the media in its span; a token with an empty span gets exactly 0.

    Args:
        width: width of the text (D).
        media_width: width of the latents.
        heads: attention heads.
        head_width: width of a head.
        norm: makes the norm of the text before it is projected, given its width.
        head_norm: makes the norms of queries and keys, each over one head. Default: none.
    """

    def __init__(
        self,
        width: int,
        media_width: int,
        heads: int,
        head_width: int,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
        head_norm: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.norm = norm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(media_width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.norm_q = head_norm(head_width)
        self.norm_k = head_norm(head_width)

    def project_media(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (R, heads, M * L, head width) of latents (R, M, L, D)."""
        keys, values = self.to_kv(latents.flatten(1, 2)).chunk(2, -1)
        return self.norm_k(self._split(keys)), self._split(values)

    def forward(
        self,
        x: Tensor,
        keys: Tensor,
        values: Tensor,
        span: Tensor | None,
        mask: Tensor | None,
        pieces: tuple[Grid, ...] | None = None,
    ) -> Tensor:
        """Attention's result (R, S, D) for text x (R, S, D).

        Args:
            x: the text.
            keys, values: (R, heads, M * L, head width).
            span: (R, S, 2); None: all tokens see some media, but for whole samples that see none.
            mask: (R, 1, S, M * L) bool, the span over latents; None: all tokens see all media.
            pieces: the samples of packed rows, which then attend to nothing but their own media.
        """
        queries = self._queries(x)
        if pieces is None:
            out = dot_product_attention(queries, keys, values, mask).transpose(1, 2)
        else:
            out = attend_pieces(queries, keys, values, pieces)
        out = self.to_out(out.flatten(2))
        if span is None or (mask is None and pieces is None):
            return out
        return torch.where(span[..., 1:] > span[..., :1], out, 0)

    def weights(self, x: Tensor, keys: Tensor, span: Tensor, mask: Tensor | None) -> Tensor:
        """How much each token looks at each latent, for people to see; arguments as of ``forward``.

        Returns:
            (R, heads, S, M * L) float32. A token's weights sum to 1 in each head, and are 0 where its span is empty.
        """
        weights = attention_weights(self._queries(x), keys, mask)
        if mask is None:
            return weights
        return weights.masked_fill((span[..., 1] <= span[..., 0])[:, None, :, None], 0)

    def _queries(self, x: Tensor) -> Tensor:
        return self.norm_q(self._split(self.to_q(self.norm(x))))

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # plain, since it runs for each token and layer


class GatedBlock(GradientCheckpointingLayer):
    """The block before a layer of the language model, around any attention and feed-forward.

    ``x + tanh(attn_gate) * attn(x, media)``, then ``x + tanh(ff_gate) * ff(x)``.

    Args:
        attn: text to media.
        ff: (R, S, D) -> (R, S, D), its own norm included.
        gate: what both gates start at, before tanh: (1,), or one value per channel (D,).
    """

    def __init__(self, attn: MaskedCrossAttention, ff: nn.Module, gate: Tensor) -> None:
        super().__init__()
        self.attn = attn
        self.attn_gate = nn.Parameter(gate.clone())
        self.ff = ff
        self.ff_gate = nn.Parameter(gate.clone())

    def project_media(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of latents (R, M, L, D), to be projected once and used for many tokens."""
        return self.attn.project_media(latents)

    def forward(self, x: Tensor, media: Media, layer: int) -> Tensor:
        """Text x (R, S, D) after looking at the media.

        Args:
            x: the input of the language model's layer.
            media: what this call may look at. Without latents and keys the attention adds nothing.
            layer: the index of the layer, to find this block's keys and values in ``media``.

        Returns:
            (R, S, D); equal to ``x`` where ``media.gated`` is False.
        """
        out = x.to(self.attn_gate.dtype)  # the language model may be kept in half precision beside float32 blocks
        if media.keys_values is not None or media.latents is not None:
            if media.keys_values is not None:
                keys, values = media.keys_values[layer]
            else:
                keys, values = self.project_media(media.latents)
            mask = media.mask
            if mask is None and media.latents is not None and (media.pieces is None or media.weights is not None):
                mask = span_mask(media.span, media.latents.shape[1], media.latents.shape[2])
            if media.weights is not None:
                media.weights[layer] = self.attn.weights(out, keys, media.span, mask)
            span = media.span if media.blind else None
            out = out + self.attn(out, keys, values, span, mask, media.pieces) * self.attn_gate.tanh()
        out = out + self.ff(out) * self.ff_gate.tanh()
        out = out.to(x.dtype)
        return out if media.gated is None else torch.where(media.gated.unsqueeze(-1), out, x)


@CROSS_ATTENTIONS.register_module()
class GatedCrossAttention(GatedBlock):
    """Flamingo's block (arXiv 2204.14198, section 2.2 and figure 4).

    Both gates start at 0, so that a new block changes nothing. Parameter names are the published ones.

    Args:
        width: width of the text (D).
        media_width: width of the latents.
        heads: attention heads. Default: 8.
        head_width: width of a head. Default: 64.
        feedforward_ratio: width of the feed-forward block, in units of ``width``. Default: 4.
        initial_gate: both gates' value before tanh. Default: 0; a model whose language model is trained from scratch
            learns sooner with open gates.

    Example:
        >>> from mmgpt.structures import Media
        >>> block = GatedCrossAttention(width=32, media_width=16, heads=2, head_width=8)
        >>> span = torch.tensor([[[0, 0], [0, 1]]])  # the first token sees nothing, the second sees medium 0
        >>> media = Media(latents=torch.randn(1, 1, 4, 16), span=span, gated=torch.ones(1, 2, dtype=torch.bool))
        >>> block(torch.randn(1, 2, 32), media, layer=0).shape
        torch.Size([1, 2, 32])
    """

    def __init__(
        self,
        width: int,
        media_width: int,
        heads: int = 8,
        head_width: int = 64,
        feedforward_ratio: int = 4,
        initial_gate: float = 0.0,
    ) -> None:
        attn = MaskedCrossAttention(width, media_width, heads, head_width)
        super().__init__(attn, feed_forward(width, feedforward_ratio), torch.full((1,), float(initial_gate)))
