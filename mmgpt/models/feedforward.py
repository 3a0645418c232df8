"""The feed-forward block that the resampler and the cross-attention share."""

from torch import nn


def feed_forward(width: int, ratio: int) -> nn.Sequential:
    """LayerNorm, a linear layer to ``width * ratio``, GELU, a linear layer back; the linear layers have no bias.

    The positions in the sequence are the published parameter names (``0`` norm, ``1`` and ``3`` linear).
    """
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, width * ratio, bias=False),
        nn.GELU(),
        nn.Linear(width * ratio, width, bias=False),
    )
