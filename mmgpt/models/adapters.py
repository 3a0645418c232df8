"""LoRA injectors: low-rank adapters in four slots of a composed model, put in place by peft."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from mmgpt.registry import ADAPTERS

SLOTS = ('self_attention', 'cross_attention', 'gated_feedforward', 'decoder_mlp')
BESIDE = ('modules_to_save', 'trainable_token_indices', 'bias')  # peft's ways to train more than the adapter
OPTIONS = {field.name for field in dataclasses.fields(LoraConfig)}


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
        slots: names of slots, or slot -> dict of ``r`` and ``alpha`` where they differ from the common ones, and of
            ``layers`` where only some linear layers of the slot are adapted: their names inside a decoder layer or a
            gated block, such as ``['self_attn.q_proj', 'self_attn.v_proj']``.
        r: the rank. Default: 16.
        alpha: the adapter's output is scaled by alpha / r. Default: 16.
        dropout: before the adapter. Default: 0.
        name: of the adapter; a model can hold several. Default: ``'default'``.
        options: peft's own, passed to ``peft.LoraConfig``: ``use_dora``, ``use_rslora``, ``init_lora_weights``, …

    Raises:
        ValueError: a slot that there is not, or none; an option that peft does not have, or that is not taken.

    Example:
        >>> LoRA(slots=['self_attention', 'cross_attention'], r=8).ranks
        {'self_attention': (8, 16), 'cross_attention': (8, 16)}
    """

    def __init__(
        self,
        slots: Sequence[str] | Mapping[str, Mapping[str, Any]] = SLOTS[:3],
        r: int = 16,
        alpha: int = 16,
        dropout: float = 0.0,
        name: str = 'default',
        **options: Any,
    ) -> None:
        for option in options.keys() - OPTIONS:
            close = difflib.get_close_matches(option, [*OPTIONS, 'slots', 'alpha', 'dropout', 'name'], n=1)
            hint = f'; did you mean {close[0]!r}?' if close else ''
            raise ValueError(f'peft.LoraConfig has no option {option!r}{hint}')
        if beside := sorted(options.keys() & BESIDE):
            raise ValueError(
                f'the option {beside[0]!r} is not taken, its folder could not be loaded: train other parameters by '
                "the model's own trainable and train_embeddings"
            )
        overrides = dict(slots) if isinstance(slots, Mapping) else {slot: {} for slot in slots}
        if not overrides or (unknown := sorted(set(overrides) - set(SLOTS))):
            near = difflib.get_close_matches(unknown[0], SLOTS, n=1) if overrides else ()
            meant = f'; did you mean {near[0]!r}?' if near else ''
            raise ValueError(f'slots must be some of {", ".join(SLOTS)}; got {unknown if overrides else "none"}{meant}')
        for slot, own in overrides.items():
            if unknown := sorted(set(own) - {'r', 'alpha', 'layers'}):
                raise ValueError(f'the slot {slot!r} takes r, alpha and layers; got {unknown}')
        self.ranks = {slot: (own.get('r', r), own.get('alpha', alpha)) for slot, own in overrides.items()}
        self.only = {slot: tuple(own['layers']) for slot, own in overrides.items() if own.get('layers')}
        self.r, self.alpha, self.dropout, self.name, self.options = r, alpha, dropout, name, options

    def config(self, model: PreTrainedModel) -> LoraConfig:
        """The adapter's configuration as peft saves it; its patterns match the chosen layers of ``model`` only.

        Raises:
            ValueError: a slot without a linear layer in this model, or ``lora_bias`` where there is none to add it to.
        """
        patterns: dict[str, str] = {}
        for slot in self.ranks:
            names = linear_layers(model, slot)
            if not names:
                raise ValueError(
                    f'the slot {slot!r} has no linear layer in {type(model).__name__}: take it out of slots'
                )
            if slot in self.only:
                inside = {name: name_inside(name, model) for name in names}
                if unknown := sorted(set(self.only[slot]) - set(inside.values())):
                    raise ValueError(
                        f'the slot {slot!r} has no linear layer {unknown[0]!r}; it has {sorted(set(inside.values()))}'
                    )
                names = [name for name in names if inside[name] in self.only[slot]]
            bare = [name for name in names if getattr(model.get_submodule(name), 'bias', None) is None]
            if bare and self.options.get('lora_bias'):
                raise ValueError(f'lora_bias needs layers with a bias, or it could not be merged; {bare[0]} has none')
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
        """Puts the adapter into ``model``. Only adapters are trained afterwards: mark what else is.

        The adapter's weights are float32 beside a language model in half precision: steps of a usual size are lost in
        the rounding of bfloat16.
        """
        config = self.config(model)
        if next(model.parameters()).is_meta:
            config.init_lora_weights = True  # the others read the weights, which are not there yet
        inject_adapter_in_model(config, model, self.name)
        for _, parameter in adapter_parameters(model):
            if parameter.dtype in (torch.float16, torch.bfloat16):
                parameter.data = parameter.data.float()


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


def name_inside(name: str, model: PreTrainedModel) -> str:
    """The name of a linear layer inside its decoder layer or gated block: ``'self_attn.q_proj'``, ``'ff.1'``."""
    layers = f'language_model.{model.decoder.layers_name}.'
    return name.removeprefix(layers if name.startswith(layers) else 'gated_blocks.').partition('.')[2]


def adapter_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of all adapters, by their full names."""
    for name, layer in adapted_layers(model):
        for own, parameter in layer.named_parameters():
            if not own.startswith('base_layer.'):
                yield f'{name}.{own}', parameter


def adapted_names(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a plain model under the names they have in the adapted ``model``; others as they are."""
    layers = {name for name, _ in adapted_layers(model)}
    renamed = {}
    for key, value in state.items():
        layer, _, own = key.rpartition('.')
        renamed[f'{layer}.base_layer.{own}' if layer in layers else key] = value
    return renamed


def restart_adapters(model: PreTrainedModel) -> None:
    """Initialises all adapters anew, for weights that came after them: DoRA, PiSSA and others start from the weights.

    In place: an optimiser keeps its hold on the parameters.
    """
    for _, layer in adapted_layers(model):
        for name in layer.lora_A:
            alone = nn.ModuleDict({'layer': copy.deepcopy(layer.get_base_layer())})
            own = dict(r=layer.r[name], lora_alpha=layer.lora_alpha[name], rank_pattern={}, alpha_pattern={})
            config = dataclasses.replace(model.peft_config[name], target_modules=['layer'], **own)
            inject_adapter_in_model(config, alone, name)
            layer.load_state_dict(alone['layer'].state_dict(), strict=False)


def merged_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The state of the plain model that computes what the adapted one does; ``model`` itself is left as it is."""
    state = model.state_dict()
    for name, layer in adapted_layers(model):
        whole = copy.deepcopy(layer)
        if not whole.merged:
            whole.merge()
        for key in [key for key in state if key.startswith(f'{name}.')]:
            del state[key]
        state |= {f'{name}.{own}': value for own, value in whole.get_base_layer().state_dict().items()}
    return state


def merge_adapters(model: nn.Module) -> None:
    """Adds the active adapters into the weights they sit on, in place; ``unmerge_adapters`` takes them out again."""
    for _, layer in adapted_layers(model):
        layer.merge()


def unmerge_adapters(model: nn.Module) -> None:
    """Takes merged adapters out of the weights."""
    for _, layer in adapted_layers(model):
        layer.unmerge()


def unload_adapters(model: PreTrainedModel, merge: bool = True) -> None:
    """Leaves a plain model: its modules and parameter names are those of a model that never had an adapter.

    Args:
        model: its adapted layers are replaced in place.
        merge: add the active adapters into the weights first; otherwise they are dropped.
    """
    for name, layer in list(adapted_layers(model)):
        if merge and not layer.merged:
            layer.merge()
        elif layer.merged and not merge:
            layer.unmerge()
        parent, _, child = name.rpartition('.')
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    model.__dict__.pop('peft_config', None)
    model._hf_peft_config_loaded = False  # what transformers' own load_adapter sets
    model.config.adapter = None


def drop_adapter(model: PreTrainedModel, name: str) -> None:
    """Takes one adapter out; a layer that carries no other becomes the plain one again."""
    for path, layer in list(adapted_layers(model)):
        layer.delete_adapter(name)
        if not layer._get_available_adapters():
            parent, _, child = path.rpartition('.')
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
    model.peft_config.pop(name, None)
    if not model.peft_config:
        del model.peft_config
        model._hf_peft_config_loaded = False
        model.config.adapter = None


def escaped(name: str) -> str:
    """A module name as a regular expression that matches it."""
    return name.replace('.', r'\.')


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, BaseTunerLayer]]:
    """The layers that carry adapters, by their full names."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer))


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
