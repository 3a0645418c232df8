"""The Perceiver resampler."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from mmgpt.models.attention import attention_weights, dot_product_attention
from mmgpt.models.feedforward import feed_forward
from mmgpt.registry import RESAMPLERS


class PerceiverAttention(nn.Module):
    """Latents attend to the features of their medium and to themselves."""

    def __init__(self, width: int, heads: int, head_width: int, head_norms: bool = False) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)
        self.norm_q = nn.LayerNorm(head_width) if head_norms else nn.Identity()
        self.norm_k = nn.LayerNorm(head_width) if head_norms else nn.Identity()

    def forward(self, features: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """Features (M, K, D), latents (M, L, D), mask (M, 1, 1, K + L) or None -> (M, L, D)."""
        out = dot_product_attention(*self._project(features, latents), mask)
        return self.to_out(rearrange(out, 'b heads n d -> b n (heads d)'))

    def weights(self, features: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """How much each latent looks at each feature, then at each latent: (M, heads, L, K + L), rows sum to 1."""
        queries, keys, _ = self._project(features, latents)
        return attention_weights(queries, keys, mask)

    def _project(self, features: Tensor, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latents = self.norm_latents(latents)
        keys, values = self.to_kv(torch.cat((self.norm_media(features), latents), 1)).chunk(2, -1)
        queries = self.norm_q(self._split(self.to_q(latents)))
        return queries, self.norm_k(self._split(keys)), self._split(values)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, 'b n (heads d) -> b heads n d', heads=self.heads)


class PerceiverLayer(GradientCheckpointingLayer, nn.ModuleList):
    """Attention (``0``) and feed-forward (``1``), each added to the latents."""

    def forward(self, features: Tensor, latents: Tensor, mask: Tensor | None) -> Tensor:
        """As ``PerceiverAttention.forward``."""
        attention, feedforward = self
        latents = latents + attention(features, latents, mask)
        return latents + feedforward(latents)


@RESAMPLERS.register_module()
class PerceiverResampler(nn.Module):
    """Turns the patches of all frames of a medium into ``num_latents`` latents (Flamingo, arXiv 2204.14198, 2.1).

    Parameter names are the published ones.

    Args:
        width: width of the features and of the latents (D).
        depth: layers. Default: 6.
        num_latents: latents per medium (L). Default: 64.
        head_width: width of a head. Default: 64.
        heads: attention heads. Default: 8.
        feedforward_ratio: width of the feed-forward blocks, in units of ``width``. Default: 4.
        max_frames: if given, each frame's place in its medium has an embedding; a medium has at most so many frames.
        max_media: if given, each medium's place in its sample has an embedding; a sample has at most so many media.
        initial_scale: standard deviation of the latents and embeddings at the start. Default: 1, as published; with a
            small one the latents differ between pictures from the first step on.
        activation: of the feed-forward blocks, ``'gelu'`` (default) or, as Idefics has it, ``'relu'``.
        head_norms: LayerNorms over each head of queries and keys, as Idefics has them. Default: False.

    Example:
        >>> resampler = PerceiverResampler(width=32, depth=1, num_latents=8)
        >>> resampler(torch.randn(5, 3, 16, 32)).shape  # 5 media of 3 frames of 16 patches
        torch.Size([5, 8, 32])
    """

    def __init__(
        self,
        width: int,
        depth: int = 6,
        num_latents: int = 64,
        head_width: int = 64,
        heads: int = 8,
        feedforward_ratio: int = 4,
        max_frames: int | None = None,
        max_media: int | None = None,
        initial_scale: float = 1.0,
        activation: str = 'gelu',
        head_norms: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        if num_latents < 1:
            raise ValueError(f'num_latents must be at least 1, got {num_latents}')
        self.num_latents = num_latents
        self.latents = nn.Parameter(initial_scale * torch.randn(num_latents, width))
        self.frame_embs = None if max_frames is None else nn.Parameter(initial_scale * torch.randn(max_frames, width))
        self.media_time_embs = (
            None if max_media is None else nn.Parameter(initial_scale * torch.randn(max_media, 1, width))
        )
        self.layers = nn.ModuleList(
            PerceiverLayer(
                (
                    PerceiverAttention(width, heads, head_width, head_norms),
                    feed_forward(width, feedforward_ratio, activation),
                )
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, frame_mask: Tensor | None = None, media_index: Tensor | None = None) -> Tensor:
        """Latents of the media.

        Args:
            features: (M, F, P, D).
            frame_mask: (M, F) bool, False = padding that changes nothing; each medium has at least one frame.
            media_index: (M,) int64, the place of each medium in its sample; used with ``max_media`` only. Default: 0.

        Returns:
            (M, L, D).

        Raises:
            ValueError: more frames than ``max_frames`` or a place beyond ``max_media``.
        """
        features, mask = self._placed(features, frame_mask, media_index)
        latents = self.latents.expand(len(features), -1, -1)
        for layer in self.layers:
            latents = layer(features, latents, mask)
        return self.norm(latents)

    def patch_weights(
        self, features: Tensor, frame_mask: Tensor | None = None, media_index: Tensor | None = None
    ) -> Tensor:
        """Which patches each latent was made of: attention rollout over all layers (arXiv 2005.00928, section 3).

        A layer adds what a latent attends to to the latent, so half of what it holds is what it held before, and half
        comes from the patches and latents that it looks at, in the mean of the heads. At the start it holds nothing of
        the picture. What remains of that start at the end is left out, and the rest scaled to a sum of 1; with one
        layer this is that layer's attention to the patches. Feed-forward blocks mix no places and change nothing.

        Args:
            features, frame_mask, media_index: as of ``forward``.

        Returns:
            (M, L, F, P) float32; the weights of each latent sum to 1 over frames and patches.
        """
        frames, patches = features.shape[1:3]
        features, mask = self._placed(features, frame_mask, media_index)
        latents = self.latents.expand(len(features), -1, -1)
        shares = features.new_zeros(*latents.shape[:2], frames * patches, dtype=torch.float32)
        for layer in self.layers:
            weights = layer[0].weights(features, latents, mask).mean(1)
            shares = (shares + weights[..., : frames * patches] + weights[..., frames * patches :] @ shares) / 2
            latents = layer(features, latents, mask)
        return (shares / shares.sum(-1, keepdim=True)).unflatten(-1, (frames, patches))

    def _placed(
        self, features: Tensor, frame_mask: Tensor | None, media_index: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """All patches of a medium in a row (M, F * P, D), with the embeddings of their places, and the mask."""
        media, frames, patches, _ = features.shape
        if self.frame_embs is not None:
            if frames > len(self.frame_embs):
                raise ValueError(
                    f'a medium has {frames} frames, the resampler has embeddings for {len(self.frame_embs)}: '
                    'take fewer frames, or build it with a larger max_frames'
                )
            features = features + self.frame_embs[:frames, None]
        features = features.flatten(1, 2)
        if self.media_time_embs is not None:
            index = media_index if media_index is not None else torch.zeros(media, dtype=torch.long)
            if media and int(index.max()) >= len(self.media_time_embs):
                raise ValueError(
                    f'a sample has {int(index.max()) + 1} media, the resampler has embeddings for '
                    f'{len(self.media_time_embs)}: show fewer, or build it with a larger max_media'
                )
            features = features + self.media_time_embs[index.to(features.device)]
        mask = None
        if frame_mask is not None:
            mask = F.pad(frame_mask.repeat_interleave(patches, 1), (0, self.num_latents), value=True)[:, None, None]
        return features, mask
