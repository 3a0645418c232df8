"""From a config to the memory plans of all strategies, and what to change so that it fits."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from mmgpt.engine.memory_plan import GIB, STRATEGIES, Plan, Sizes, plan, sizes_of
from mmgpt.engine.memory_trace import plan_batch, trace_step
from mmgpt.models.builder import build_model
from mmgpt.models.layerwise import checkpoint_activations, repeated_layers
from mmgpt.registry import STRATEGIES as STRATEGY_PLUGINS
from mmgpt.registry import TEMPLATES

UNITS = {'': 1, 'B': 1, 'KB': 10**3, 'MB': 10**6, 'GB': 10**9, 'KIB': 2**10, 'MIB': 2**20, 'GIB': 2**30}


@dataclass(frozen=True)
class Setting:
    """The sizes of a micro-batch of one GPU."""

    rows: int
    tokens: int  # of a row
    samples: int  # of a row
    images: int  # media of a sample
    frames: int  # of a medium
    precision: str


@dataclass(frozen=True)
class Slopes:
    """What more of a micro-batch costs, in bytes of activations; measured between two sizes."""

    row: float
    tokens: float  # of a thousand
    image: float  # one more of each sample


@dataclass(frozen=True)
class Plans:
    """All that is known of a config's memory."""

    setting: Setting
    sizes: Sizes
    plans: list[Plan]
    slopes: Slopes
    best: Plan | None  # of those that fit the one that costs least time

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        found = {'setting': asdict(self.setting), 'slopes': asdict(self.slopes)}
        found['model'] = {'parameters': self.sizes.parameters, 'trained': self.sizes.numbers}
        found['plans'] = [one.to_dict() for one in self.plans]
        return {**found, 'best': self.best and self.best.to_dict()}


def parse_memory(text: str) -> int:
    """Bytes of ``'24GiB'``, ``'80 GB'`` or a number.

    Raises:
        ValueError: it is none.

    Example:
        >>> parse_memory('24GiB')
        25769803776
    """
    match = re.fullmatch(r'\s*([0-9.]+)\s*([KMG]?I?B?)\s*', text, re.IGNORECASE)
    if match is None or match[2].upper() not in UNITS:
        raise ValueError(f'memory is given as 24GiB or 80GB, got {text!r}')
    return round(float(match[1]) * UNITS[match[2].upper()])


def setting_of(cfg: Mapping[str, Any], **given: Any) -> Setting:
    """The micro-batch of a config.

    A row's length is that of packed rows, else the longest a row may be, else 512 tokens. Of each sample one picture is
    taken, and as many as its context may have; of a packed row, as many samples as ``given`` says.

    Args:
        cfg: of a run.
        given: what is known better; None counts as not given.
    """
    loader = cfg['train_dataloader']
    dataset, sampler = loader.get('dataset') or {}, loader.get('sampler') or {}
    context = [_most(source.get('retriever') or {}) for source in dataset.get('sources', ())]
    precision = (cfg.get('optim_wrapper') or {}).get('precision', 'auto')
    found = Setting(
        rows=loader.get('batch_size', 1),
        tokens=sampler.get('row_length') or dataset.get('max_seq_len') or 512,
        samples=4 if sampler.get('row_length') else 1,
        images=1 + max(context, default=0),
        frames=1,
        precision='bf16' if precision == 'auto' else precision,
    )
    return replace(found, **{name: value for name, value in given.items() if value is not None})


def _most(retriever: Mapping[str, Any]) -> int:
    number = retriever.get('num', 0)
    return int(max(number) if isinstance(number, list | tuple) else number or 0)


def meta_model(cfg: Mapping[str, Any]) -> nn.Module:
    """The model of a config, without memory and without its weights.

    Raises:
        ValueError: the config does not say what a part is, as only its weights do.
    """
    model = copy.deepcopy(dict(cfg['model']))
    template = TEMPLATES.build(dict(cfg['template']))
    dtypes = {}
    for part in ('vision_encoder', 'language_decoder'):
        member = model[part] = dict(model[part])
        pretrained = member.pop('weights', None) is not None
        member.pop('revision', None)
        dtypes[part] = member.pop('dtype', None)
        if part == 'language_decoder' and 'model_type' not in (member.get('config') or {}):
            raise ValueError(
                'what the language model is stands beside its weights only: give model.language_decoder.config, with '
                "'model_type' and its sizes"
            )
        if pretrained and dtypes[part] in (None, 'auto') and part == 'language_decoder':
            dtypes[part] = 'bfloat16'  # as most are published
    added = [token for token in dict.fromkeys((template.media_token, *template.special_tokens)) if token]
    words = model['language_decoder']['config'].get('vocab_size', 32_000)
    ids = {token: words + place for place, token in enumerate(added)}
    stop = template.stop_token
    if stop is not None:
        ids.setdefault(stop, 2)
    tokenizer = _Tokens(words + len(added), ids)
    with torch.device('meta'):
        built = build_model(
            model, tokenizer, media_token=template.media_token, stop_token=stop, special_tokens=template.special_tokens
        )
        for part, module in (('vision_encoder', built.vision_encoder), ('language_decoder', built.language_model)):
            if dtypes[part] is not None:
                module.to(getattr(torch, dtypes[part]))
    return built.train()


class _Tokens(SimpleNamespace):
    """A tokenizer as far as a model is built by it."""

    def __init__(self, size: int, ids: dict[str, int]) -> None:
        super().__init__(size=size, ids=ids, bos_token_id=1, eos_token_id=2, pad_token_id=None)

    def __len__(self) -> int:
        return self.size

    def get_vocab(self) -> dict[str, int]:
        """The added tokens."""
        return self.ids


def make_plans(
    cfg: Mapping[str, Any], gpus: int, memory: int, setting: Setting, per_machine: int | None = None
) -> Plans:
    """Plans of all strategies, with and without gradient checkpointing.

    Args:
        cfg: of a run.
        gpus: processes.
        memory: of a GPU, in bytes.
        setting: the micro-batch.
        per_machine: GPUs of a machine. Default: all.
    """
    model = meta_model(cfg)
    sizes = sizes_of(model)
    accumulates = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1) > 1
    plans = []

    def activations(setting: Setting, half: bool) -> int:
        sizes = {name: value for name, value in asdict(setting).items() if name != 'precision'}
        return trace_step(model, plan_batch(model, **sizes), setting.precision, half=half).activations

    found: dict[bool, dict[bool, int]] = {}
    for checkpointing in (False, True):
        if checkpointing:
            checkpoint_activations(model)
        found[checkpointing] = {half: activations(setting, half) for half in (False, True)}
        for strategy in STRATEGIES:
            if strategy.half and setting.precision != 'bf16':
                continue
            kept = found[checkpointing][strategy.half]
            one = plan(sizes, strategy, kept, gpus, checkpointing, accumulates, per_machine)
            plans.append(replace(one, fits=one.peak <= memory))
    best = min((one for one in plans if one.fits and _is_there(one.config)), key=_cost, default=None)
    half = best is not None and 'param_dtype' in best.config
    if best is None or best.gradient_checkpointing:
        base = found[True][half]
    else:
        for layers in repeated_layers(model).values():
            for layer in layers:
                layer.gradient_checkpointing = False
        base = found[False][half]
    more = replace(setting, tokens=setting.tokens + 512)
    slopes = Slopes(
        row=float(activations(replace(setting, rows=setting.rows + 1), half) - base),
        tokens=(activations(more, half) - base) * 1000 / 512,
        image=float(activations(replace(setting, images=setting.images + 1), half) - base),
    )
    return Plans(setting, sizes, plans, slopes, best)


def _is_there(config: str) -> bool:
    """Whether a strategy can be chosen."""
    return not config or any(f"type='{name}'" in config for name in STRATEGY_PLUGINS.names())


def _cost(one: Plan) -> tuple[bool, bool, int]:
    """What costs less time comes first: nothing on the host, activations kept, less traffic."""
    order = [strategy.name for strategy in STRATEGIES]
    traffic = {'DDP': 0, 'FSDP2, bfloat16': 1, 'ZeRO-2': 2}.get(one.strategy, 3 + order.index(one.strategy))
    return 'host' in one.strategy, one.gradient_checkpointing, traffic


def table(plans: Plans, memory: int) -> str:
    """The plans as a text."""
    head = ('', 'weights', 'gradients', 'optimiser', 'gathered', 'activations', 'reserve', 'GPU', 'host')
    lines = ['{:<58}{:>9}{:>10}{:>10}{:>9}{:>12}{:>8}{:>8}{:>7}'.format(*head)]
    for one in plans.plans:
        name = one.strategy + (', activations made again' if one.gradient_checkpointing else '')
        parts = (one.parameters, one.gradients, one.optimizer, one.buffers, one.activations, one.reserve, one.peak)
        parts = [*(part / GIB for part in parts), one.host / GIB]
        mark = 'fits' if one.fits else ''
        lines.append(
            '{:<58}{:>9.1f}{:>10.1f}{:>10.1f}{:>9.1f}{:>12.1f}{:>8.1f}{:>8.1f}{:>7.0f}  {}'.format(name, *parts, mark)
        )
    return '\n'.join(lines)


def advice(plans: Plans, cfg: Mapping[str, Any], memory: int) -> str:
    """What to set, and what the room that is left is good for."""
    best, slopes = plans.best, plans.slopes
    costs = (
        f'one more row {slopes.row / GIB:.2f} GiB, a thousand more tokens in a row {slopes.tokens / GIB:.2f}, one more '
        f'picture of each sample {slopes.image / GIB:.2f}'
    )
    if best is None:
        least = min((one for one in plans.plans if _is_there(one.config)), key=lambda one: one.peak)
        return (
            f'Nothing fits {memory / GIB:.1f} GiB. The least is {least.strategy}: {least.peak / GIB:.1f} GiB. '
            f'What takes less: more GPUs, shorter or fewer rows ({costs}), {", ".join(_leaner(cfg))}'
        )
    left = memory - best.peak
    options = [f'strategy={best.config}'] if best.config else []
    options += ['gradient_checkpointing=True'] if best.gradient_checkpointing else []
    options += [f"optim_wrapper.precision='{plans.setting.precision}'"]
    rows = int(left / (slopes.row * 1.05)) if slopes.row > 0 else 0
    return (
        f'The fastest that fits: {best.strategy}, {best.peak / GIB:.1f} of {memory / GIB:.1f} GiB\n'
        + '\n'.join(f'  {option}' for option in options)
        + f'\nOf activations, {costs}: there is room for {rows} rows more.'
    )


def _leaner(cfg: Mapping[str, Any]) -> list[str]:
    found = []
    model = cfg['model']
    if model.get('train_embeddings') == 'all':
        found.append("model.train_embeddings='new'")
    if (model.get('language_decoder') or {}).get('dtype') == 'float32' and model.get('train_embeddings') != 'all':
        found.append("model.language_decoder.dtype='bfloat16'")
    return [*found, 'an adapter instead of whole blocks']
