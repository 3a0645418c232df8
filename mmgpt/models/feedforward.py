"""The feed-forward block that the resampler and the cross-attention share."""

from torch import nn

ACTIVATIONS = {'gelu': nn.GELU, 'relu': nn.ReLU}


def feed_forward(width: int, ratio: int, activation: str = 'gelu') -> nn.Sequential:
    """LayerNorm, a linear layer to ``width * ratio``, an activation, a linear layer back; none has a bias but the norm.

    The positions in the sequence are the published parameter names (``0`` norm, ``1`` and ``3`` linear).

    Args:
        width: of input and output.
        ratio: width between, in units of ``width``.
        activation: ``'gelu'`` (default) or ``'relu'``.

    Raises:
        ValueError: another activation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f'activation must be one of {", ".join(ACTIVATIONS)}, got {activation!r}')
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, width * ratio, bias=False),
        ACTIVATIONS[activation](),
        nn.Linear(width * ratio, width, bias=False),
    )
