"""What is done to a model layer by layer: recomputing activations in the backward pass, and compiling.

The layers are those that repeat: of the vision encoder, the resampler, the language model, and the gated blocks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

PARTS = ('vision_encoder', 'resampler', 'language_model', 'gated_blocks')


def repeated_layers(model: nn.Module) -> dict[str, list[nn.Module]]:
    """The repeated layers of each part of a composed model, in the order in which they run."""
    parts = {name: getattr(model, name, None) for name in PARTS}
    return {
        name: [module for module in part.modules() if isinstance(module, GradientCheckpointingLayer)]
        for name, part in parts.items()
        if part is not None
    }


def sharding_units(model: nn.Module) -> list[nn.Module]:
    """The modules that are best gathered one by one where several processes share a model: the repeated layers.

    Of a part that has no layers of Hugging Face's kind, as open_clip's towers, they are the longest list of modules of
    one class; of the language model they are its decoder layers.
    """
    decoder = getattr(model, 'decoder', None)
    units = []
    for name, layers in repeated_layers(model).items():
        if name == 'language_model' and decoder is not None:
            layers = list(decoder.layers)
        units += layers or _longest_list(getattr(model, name))
    return units


def _longest_list(module: nn.Module) -> list[nn.Module]:
    lists = [[*m.children()] for m in module.modules() if isinstance(m, (nn.ModuleList, nn.Sequential))]
    alike = [layers for layers in lists if len(layers) > 1 and len({type(layer) for layer in layers}) == 1]
    return max(alike, key=len, default=[])


def checkpoint_activations(model: nn.Module, every: int = 1) -> None:
    """Keep only the inputs of layers for the backward pass and compute the rest again there (arXiv 1604.06174).

    Losses and gradients stay what they are, dropout included; a step's forward pass runs up to twice. Where nothing
    below a layer is trained its input needs no gradient, and the backward pass ends there as it does otherwise.

    Args:
        model: a ``Flamingo``; its media travel as arguments, so that a layer that runs again sees the same ones.
        every: of each part every n-th layer is recomputed, the others keep their activations. Default: all.

    Raises:
        ValueError: ``every`` is below 1, or layers of the language model cannot be recomputed.
    """
    if every < 1:
        raise ValueError(f'every must be at least 1, got {every}')
    parts = repeated_layers(model)
    unable = [layer for layer in model.decoder.layers if not isinstance(layer, GradientCheckpointingLayer)]
    if unable:
        raise ValueError(
            f'the layers of {type(model.language_model).__name__} ({type(unable[0]).__name__}) cannot be recomputed: '
            'leave gradient_checkpointing out'
        )
    for layers in parts.values():
        for index, layer in enumerate(layers):
            layer.gradient_checkpointing = index % every == 0
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    tower = getattr(model.vision_encoder, 'tower', None)
    if hasattr(tower, 'set_grad_checkpointing'):  # open_clip's and timm's know all or nothing
        tower.set_grad_checkpointing(True)


def compile_layers(model: nn.Module, dynamic: bool | None = True, **options: Any) -> None:
    """Compile the repeated layers with ``torch.compile``; layers of one kind share their graphs.

    Only training runs them; generating during a run does not. What lies between the layers (choosing frames and
    supervised positions) depends on the data and stays as it is.

    Args:
        model: a ``Flamingo``.
        dynamic: True makes graphs for all lengths at once, instead of one for the first and another one later.
        options: of ``torch.compile``.

    Raises:
        ValueError: the model has no such layers.
    """
    layers = [layer for part in repeated_layers(model).values() for layer in part]
    if not layers:
        raise ValueError(f'{type(model).__name__} has no repeated layers that could be compiled: leave compile out')
    model.decoder.whole_rows = True  # a graph for each sample's place in its row would be one too many
    options = {'recompile_limit': 32, **options}
    compiled: dict[Callable, Callable] = {}
    for layer in layers:
        plain = inspect.unwrap(type(layer).forward)
        if plain not in compiled:
            compiled[plain] = torch.compile(plain, dynamic=dynamic, **options)
        layer.forward = CompiledForward(layer, layer.forward, compiled[plain])


class CompiledForward:
    """The forward of one layer: compiled in training, inside of the recomputation where that is on.

    Args:
        layer: whose forward it is.
        plain: the layer's own forward.
        compiled: takes the layer and the arguments.
    """

    def __init__(self, layer: nn.Module, plain: Callable, compiled: Callable) -> None:
        self.layer = layer
        self.plain = plain
        self.compiled = compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer gives."""
        if not self.layer.training:
            return self.plain(*args, **kwargs)
        run = partial(self.compiled, self.layer, **kwargs)
        if self.layer.gradient_checkpointing:
            return self.layer._gradient_checkpointing_func(run, *args)
        return run(*args)
