"""From a checked config to a run that can start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.runner.utils import set_random_seed
from torch import nn
from torch.utils.data import DataLoader

from mmgpt.data.builder import build_dataloader, build_prompter, build_val_dataloader
from mmgpt.data.samplers import PackingSampler
from mmgpt.engine.frozen_features import require_cacheable
from mmgpt.engine.runner import Runner
from mmgpt.engine.strategies.processes import on_main
from mmgpt.hub.io import set_generation_tokens
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.builder import build_model
from mmgpt.registry import BUILDERS


@dataclass(frozen=True)
class Parts:
    """What a config describes, built."""

    model: nn.Module
    processor: FlamingoProcessor
    dataloader: DataLoader
    val_dataloader: DataLoader | None

    def summary(self) -> str:
        """The size of the model and of an epoch, in two lines.

        Example: ``1.62 M parameters, 1.60 M of them trained: language_model 1.10 M, …``
        """
        count = _count(self.model.parameters())
        children = self.model.named_children()
        trained = {name: _count(p for p in child.parameters() if p.requires_grad) for name, child in children}
        parts = ', '.join(f'{name} {_short(size)}' for name, size in trained.items() if size)
        stream = self.dataloader.batch_sampler
        unit = 'packed rows' if isinstance(stream, PackingSampler) else 'samples'
        return (
            f'{_short(count)} parameters, {_short(sum(trained.values()))} of them trained: {parts}\n'
            f'{stream.epoch_size:,} samples an epoch, {stream.batches_per_epoch:,.0f} batches of '
            f'{stream.batch_size} {unit}'
        )


def build_parts(cfg: Config) -> Parts:
    """Model, processor and data of a config; ``randomness.seed`` seeds all of them.

    Raises:
        OSError: weights, tokenizer or data that are not there.
        ValueError: parts that do not fit each other.
    """
    seed = seed_of(cfg)
    set_random_seed(seed)
    prompter = build_prompter(cfg.template, cfg.tokenizer, cfg.image_transform)
    template = prompter.template
    tokens = {'media_token': template.media_token, 'stop_token': template.stop_token}
    model = build_model(cfg.model, prompter.tokenizer, special_tokens=template.special_tokens, **tokens)
    processor = FlamingoProcessor.for_model(prompter, model)
    set_generation_tokens(model, processor)
    place = seed, get_rank(), get_world_size()
    dataloader = build_dataloader(cfg.train_dataloader, prompter, *place)
    held_out = cfg.get('val_dataloader')
    val_dataloader = build_val_dataloader(held_out, prompter, *place) if held_out else None
    planned = isinstance(dataloader.batch_sampler, PackingSampler)
    if planned or any(loader is not None and loader.collate_fn.padding_free for loader in (dataloader, val_dataloader)):
        _check_packing(model, cfg.optim_wrapper, planned)
    if cfg.get('feature_cache'):
        require_cacheable(model.vision_encoder, dataloader.dataset)
    return Parts(model, processor, dataloader, val_dataloader)


def build_runner(cfg: Config) -> Runner:
    """The run of a config; call its ``train()``."""
    parts = build_parts(cfg)
    return Runner(parts.model, parts.processor, parts.dataloader, cfg, parts.summary(), parts.val_dataloader)


def prepare_data(cfg: Config) -> None:
    """Let the config's ``data_builder`` write its data set, where that is not there yet.

    A data builder has ``folder``, ``is_built()`` and ``build()``; its constructor does nothing. With ``files()``, the
    paths that it will write, a config that names another one is refused before anything is built. Of several
    processes the first builds while the others wait.
    """

    def build() -> None:
        builder = BUILDERS.build(dict(cfg.data_builder))
        if not builder.is_built():
            print(f'building the data set in {builder.folder}', flush=True)
            builder.build()

    if cfg.get('data_builder'):
        on_main(build)


def seed_of(cfg: Config) -> int:
    """``randomness.seed``; 0 where the config says nothing."""
    return int(cfg.get('randomness', {}).get('seed') or 0)


def _check_packing(model: nn.Module, optim_wrapper: Mapping[str, Any], planned: bool) -> None:
    """Raises ValueError where packed rows, planned ones or those of a batch without padding, would train otherwise."""
    decoder = getattr(model, 'decoder', None)
    if decoder is not None and decoder.traits.packing is None:
        instead = 'set padding_free to False'
        if planned:
            instead = "set train_dataloader.sampler to dict(type='LengthGroupedSampler') and raise batch_size"
        raise ValueError(
            f'{type(decoder.lm).__name__} cannot keep the samples of a packed row apart (found by running a small copy '
            f'of it): {instead}'
        )
    if planned and optim_wrapper.get('reduction') == 'batch':
        raise ValueError(
            "reduction='batch' takes the mean of each batch as it was published, and packed rows make other batches: "
            "set optim_wrapper.reduction to 'token', or train_dataloader.sampler to dict(type='MixtureSampler')"
        )


def _count(parameters: Any) -> int:
    return sum(parameter.numel() for parameter in parameters)


def _short(count: int) -> str:
    for size, unit in ((1e9, 'B'), (1e6, 'M'), (1e3, 'k')):
        if count >= size:
            return f'{count / size:.3g} {unit}'
    return str(count)
