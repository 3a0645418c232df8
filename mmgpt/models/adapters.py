"""LoRA injectors: low-rank adapters in four slots of a composed model, put in place by peft."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from mmgpt.registry import ADAPTERS

SLOTS = ('self_attention', 'cross_attention', 'gated_feedforward', 'decoder_mlp')


@ADAPTERS.register_module()
class LoRA:
    """Low-rank adapters (LoRA, arXiv 2106.09685) on the linear layers of the chosen slots.

    ====================== =========================================================================
    slot                   linear layers of
    ====================== =========================================================================
    ``self_attention``     the attention of the language model's own layers
    ``cross_attention``    the gated blocks' attention: ``to_q``, ``to_kv``, ``to_out``
    ``gated_feedforward``  the gated blocks' feed-forward: ``ff.1``, ``ff.3``
    ``decoder_mlp``        everything else in the language model's layers: their feed-forward
    ====================== =========================================================================

    MultiModal-GPT (arXiv 2305.04790, section 3.1) uses the first three with r = alpha = 16 and no dropout.

    Args:
        slots: names of slots, or slot -> dict of ``r`` and ``alpha`` where they differ from the common ones.
        r: the rank. Default: 16.
        alpha: the adapter's output is scaled by alpha / r. Default: 16.
        dropout: before the adapter. Default: 0.
        name: of the adapter; a model can hold several. Default: ``'default'``.
        options: peft's own, passed to ``peft.LoraConfig``: ``use_dora``, ``use_rslora``, ``init_lora_weights``, …

    Raises:
        ValueError: a slot that there is not, or none.

    Example:
        >>> LoRA(slots=['self_attention', 'cross_attention'], r=8).ranks
        {'self_attention': (8, 16), 'cross_attention': (8, 16)}
    """

    def __init__(
        self,
        slots: Sequence[str] | Mapping[str, Mapping[str, int]] = SLOTS[:3],
        r: int = 16,
        alpha: int = 16,
        dropout: float = 0.0,
        name: str = 'default',
        **options: Any,
    ) -> None:
        overrides = dict(slots) if isinstance(slots, Mapping) else {slot: {} for slot in slots}
        if not overrides or (unknown := set(overrides) - set(SLOTS)):
            raise ValueError(
                f'slots must be some of {", ".join(SLOTS)}; got {sorted(unknown) if overrides else "none"}'
            )
        self.ranks = {slot: (own.get('r', r), own.get('alpha', alpha)) for slot, own in overrides.items()}
        self.r, self.alpha, self.dropout, self.name, self.options = r, alpha, dropout, name, options

    def config(self, model: PreTrainedModel) -> LoraConfig:
        """The adapter's configuration as peft saves it; its patterns match the chosen layers of ``model`` only.

        Raises:
            ValueError: a slot without a linear layer in this model.
        """
        patterns: dict[str, str] = {}
        for slot in self.ranks:
            names = linear_layers(model, slot)
            if not names:
                raise ValueError(
                    f'the slot {slot!r} has no linear layer in {type(model).__name__}: take it out of slots'
                )
            patterns[slot] = '|'.join(sorted({re.sub(r'\.\d+\.', r'.\\d+.', escaped(name)) for name in names}))
        common = dict(r=self.r, lora_alpha=self.alpha, lora_dropout=self.dropout, bias='none')
        ranks = {patterns[slot]: rank for slot, (rank, _) in self.ranks.items() if rank != self.r}
        alphas = {patterns[slot]: alpha for slot, (_, alpha) in self.ranks.items() if alpha != self.alpha}
        return LoraConfig(
            **common,
            target_modules='|'.join(patterns.values()),
            rank_pattern=ranks,
            alpha_pattern=alphas,
            **self.options,
        )

    def inject(self, model: PreTrainedModel) -> None:
        """Puts the adapter into ``model``. Only adapters are trained afterwards: mark what else is."""
        model.add_adapter(self.config(model), self.name)


def linear_layers(model: PreTrainedModel, slot: str) -> list[str]:
    """The full names of the linear layers of a slot, in the order of the model's modules."""
    inside = '\0'  # what an adapted layer is made of is no layer of its own
    names = []
    for name, module in model.named_modules():
        if name.startswith(inside):
            continue
        if isinstance(module, BaseTunerLayer):
            inside, module = f'{name}.', module.get_base_layer()
        if _is_linear(module) and _slot_of(name, model) == slot:
            names.append(name)
    return names


def merge_adapters(model: nn.Module) -> None:
    """Adds the active adapters into the weights they sit on, in place; ``unmerge_adapters`` takes them out again."""
    for layer in _adapted(model):
        layer.merge()


def unmerge_adapters(model: nn.Module) -> None:
    """Takes merged adapters out of the weights."""
    for layer in _adapted(model):
        layer.unmerge()


def unload_adapters(model: PreTrainedModel, merge: bool = True) -> None:
    """Leaves a plain model: its modules and parameter names are those of a model that never had an adapter.

    Args:
        model: its adapted layers are replaced in place.
        merge: add the active adapters into the weights first; otherwise they are dropped.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            if merge:
                module.merge()
            parent, _, child = name.rpartition('.')
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    if getattr(model, '_hf_peft_config_loaded', False):
        del model.peft_config
        model._hf_peft_config_loaded = False


def escaped(name: str) -> str:
    """A module name as a regular expression that matches it."""
    return name.replace('.', r'\.')


def _adapted(model: nn.Module) -> Iterable[BaseTunerLayer]:
    return (module for module in model.modules() if isinstance(module, BaseTunerLayer))


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, (nn.Linear, Conv1D))


def _slot_of(name: str, model: PreTrainedModel) -> str | None:
    """The slot of a module, by its name; None: it is in none of them."""
    parts = name.split('.')
    if parts[0] == 'gated_blocks':
        return {'attn': 'cross_attention', 'ff': 'gated_feedforward'}.get(parts[2])
    layers = f'language_model.{model.decoder.layers_name}.'
    if not name.startswith(layers):
        return None
    inside = name.removeprefix(layers).split('.')[1:]
    return 'self_attention' if any('attn' in part or 'attention' in part for part in inside) else 'decoder_mlp'
