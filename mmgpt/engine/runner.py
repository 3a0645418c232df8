"""MMEngine's Runner with mmgpt's parts: one loop, one optimiser, checkpoints that are Hugging Face folders."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine import Config
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as MMEngineRunner
from torch import nn
from torch.utils.data import DataLoader

from mmgpt import __version__
from mmgpt.engine.checkpoint_writer import CheckpointWriter
from mmgpt.engine.checkpoints import written_whole
from mmgpt.engine.config_keys import without_variables
from mmgpt.engine.hooks import DEFAULT_HOOKS
from mmgpt.engine.module import TrainedModule
from mmgpt.engine.optimizer import NO_DECAY, build_optimizer, parameter_groups
from mmgpt.engine.resuming import find_checkpoint, set_aside
from mmgpt.engine.shards_on_disk import is_sharded, read_model
from mmgpt.engine.strategies import Strategy
from mmgpt.engine.strategies.processes import on_main
from mmgpt.engine.training_state import load_training_state
from mmgpt.engine.weights import has_adapter, load_weights, save_own_adapter, save_whole
from mmgpt.hub.model_card import CardFields, Run, model_card
from mmgpt.models.layerwise import checkpoint_activations, compile_layers
from mmgpt.models.matmul import prefer_onednn
from mmgpt.models.sources import WHOLE, Source
from mmgpt.registry import HOOKS, LOOPS, OPTIM_WRAPPERS, STRATEGIES

_RUNNERS = itertools.count()


class Runner(MMEngineRunner):
    """Trains a model on a stream of batches, as a config says.

    Hooks, schedulers, visualizer and message hub are MMEngine's. What differs: the model, its processor and its data
    come built; a checkpoint is a Hugging Face folder with ``training/`` in it; a resumed run continues bit for bit;
    the console shows progress and nothing else (the log file has everything).

    Args:
        model: a ``PreTrainedModel`` with ``compute_loss``.
        processor: what is saved beside the model (``save_pretrained``); None saves the model alone.
        dataloader: an endless stream of batches (see ``IterLoop``).
        cfg: the config; read are ``work_dir``, ``train_cfg``, ``optim_wrapper``, ``param_scheduler``,
            ``default_hooks`` (an entry set to None is left out), ``custom_hooks``, ``feature_cache``, ``visualizer``,
            ``randomness``, ``env_cfg``, ``auto_scale_lr``, ``strategy``, ``launcher``, ``load_from``, ``resume``,
            ``compile`` and ``gradient_checkpointing`` (True, or their options: see ``mmgpt.models.layerwise``),
            ``export`` (see ``mmgpt.hub.model_card.CardFields``).
        summary: what the log says of the model and its data.
        val_dataloader: the samples on which the loss is measured during the training; the config's ``val_cfg`` says
            how (see ``mmgpt.engine.loops.ValLoop``).

    Example:
        >>> runner = Runner(model, processor, dataloader, cfg)      # doctest: +SKIP
        >>> runner.train()                                          # doctest: +SKIP
    """

    def __init__(
        self,
        model: nn.Module,
        processor: Any,
        dataloader: DataLoader,
        cfg: Config,
        summary: str = '',
        val_dataloader: DataLoader | None = None,
    ):
        self.processor = processor
        self.summary = summary
        self.figures: dict[str, float] = {}  # the newest logged figures, for the console and for plugins
        self.checkpoint_root = Path(cfg.work_dir) / 'checkpoints'
        self.stopped_by: str | None = None  # the signal that ended the run before its last iteration
        self.log_dirs: list[str] = []  # names of this run's log folders, those before a resume included
        self.checkpoints = CheckpointWriter(self)
        if recomputing := cfg.get('gradient_checkpointing'):
            checkpoint_activations(model, **({} if recomputing is True else recomputing))
        randomness = cfg.get('randomness') or {}
        super().__init__(
            model=TrainedModule(model),
            work_dir=cfg.work_dir,
            train_dataloader=dataloader,
            train_cfg=cfg.train_cfg,
            optim_wrapper=cfg.optim_wrapper,
            param_scheduler=cfg.get('param_scheduler'),
            auto_scale_lr=cfg.get('auto_scale_lr'),
            default_hooks=cfg.get('default_hooks'),
            custom_hooks=cfg.get('custom_hooks'),
            load_from=cfg.get('load_from'),
            resume=cfg.get('resume', False),
            launcher=cfg.get('launcher', 'none'),
            env_cfg=cfg.get('env_cfg', {}),
            log_level=cfg.get('log_level', 'INFO'),
            visualizer=cfg.get('visualizer'),
            default_scope=None,  # mmgpt's registries are asked by name; MMEngine's others have no child of ours
            randomness={'diff_rank_seed': True, **randomness, 'seed': randomness.get('seed') or 0},
            experiment_name=f'{Path(cfg.work_dir).name}_{os.getpid()}_{next(_RUNNERS)}',  # MMEngine shares by name
            cfg=cfg,
        )
        self.log_dirs.append(Path(self.log_dir).name)
        self.validation: BaseLoop | None = None  # MMEngine's own would ask for metrics: here the loss is measured
        if val_dataloader is not None:
            given = {'runner': self, 'dataloader': val_dataloader}
            self.validation = LOOPS.build({'type': 'ValLoop', **(cfg.get('val_cfg') or {})}, default_args=given)

    @property
    def trained_module(self) -> TrainedModule:
        """The module whose forward pass is the loss, without the strategy's wrappers around it."""
        module = self.model
        while not isinstance(module, TrainedModule):
            module = module.module
        return module

    @property
    def bare_model(self) -> nn.Module:
        """The model itself, without the training module and wrappers around it."""
        return self.trained_module.model

    # What is built

    def build_logger(self, log_level: int | str = 'INFO', log_file: str | None = None, **kwargs: Any) -> MMLogger:
        """MMEngine's logger; the console gets warnings only, the file everything."""
        logger = super().build_logger(log_level, log_file, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(max(handler.level, logging.WARNING))
        return logger

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """The module on its device, spread over the processes by the config's strategy."""
        self.strategy: Strategy = STRATEGIES.build({'type': 'DDP', **(self.cfg.get('strategy') or {})})
        return self.strategy.wrap(model)

    def setup_env(self, env_cfg: dict) -> None:
        """MMEngine's environment, with two keys more.

        ``num_threads``: with small tensors one thread is faster than all; ``onednn=False`` leaves float32 products on a
        CPU to PyTorch's own choice (``models/matmul.py``).
        """
        env_cfg = dict(env_cfg)
        if (threads := env_cfg.pop('num_threads', None)) is not None:
            if threads < 1:
                raise ValueError(f'env_cfg.num_threads must be at least 1, got {threads}')
            torch.set_num_threads(threads)
        if env_cfg.pop('onednn', True):
            prefer_onednn()
        super().setup_env(env_cfg)

    def _log_env(self, env_cfg: dict) -> None:
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else f'{torch.get_num_threads()} CPU threads'
        versions = f'mmgpt {__version__}, Python {platform.python_version()}, torch {torch.__version__}'
        self.logger.info(f'{versions}; {device}; {self.world_size} process(es); seed {self.seed}')
        self.logger.info(self.summary)
        self.logger.info(f'Config:\n{self.cfg.pretty_text}')

    @master_only
    def dump_config(self) -> None:
        """The config without its variables, into the work folder; beside the log where its own file lies there."""
        filename = self.cfg.filename
        target = Path(self.work_dir) / (Path(filename).name if filename else f'{self.timestamp}.py')
        if filename and target.exists() and target.samefile(filename):
            target = Path(self.log_dir) / target.name
        without_variables(self.cfg).dump(target)

    def get_hooks_info(self) -> str:
        """The hooks in the order in which they are called, on one line."""
        return ', '.join(type(hook).__name__ for hook in self.hooks)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """Register ``DEFAULT_HOOKS``, each replaced or left out (None) by the config's entry; and ``feature_cache``."""
        for hook in {**DEFAULT_HOOKS, **(hooks or {})}.values():
            if hook is not None:
                self.register_hook(hook)
        if feature_cache := self.cfg.get('feature_cache'):
            if self.strategy.sharded:
                name = self.cfg.strategy['type']
                raise ValueError(
                    f'feature_cache needs the whole vision encoder on each process, strategy {name!r} leaves parts '
                    'there: take DDP, or leave feature_cache out'
                )
            self.register_hook({'type': 'FeatureCacheHook', **feature_cache})

    def register_hook(self, hook: Hook | dict, priority: str | int | None = None) -> None:
        """Register a hook, or build it from mmgpt's registry (MMEngine's are its parent's) and register it."""
        if isinstance(hook, dict):
            hook = dict(hook)
            priority = hook.pop('priority', priority)
            hook = HOOKS.build(hook)
        super().register_hook(hook, priority)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call a stage of all hooks; one whose figures find no room on the disk does not end the run."""
        for hook in self._hooks:
            if hasattr(hook, fn_name):
                with self.full_disk_told(type(hook).__name__):
                    getattr(hook, fn_name)(self, **kwargs)

    @contextmanager
    def full_disk_told(self, who: str) -> Iterator[None]:
        """A context in which a full disk is a warning; for what can be missed, such as logs."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.logger.warning(f'{who} could not write: {error}')

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """The loop of mmgpt's registry."""
        if isinstance(loop, BaseLoop):
            return loop
        return LOOPS.build(dict(loop), default_args={'runner': self, 'dataloader': self._train_dataloader})

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """The optimiser over the parameter groups of ``parameter_groups``, in its wrapper."""
        if isinstance(optim_wrapper, OptimWrapper):
            return optim_wrapper
        cfg = dict(optim_wrapper)
        optimizer = dict(cfg.pop('optimizer'))
        groups = parameter_groups(
            self.bare_model,
            lr=optimizer['lr'],
            weight_decay=optimizer.get('weight_decay', 0.0),
            no_decay=cfg.get('no_decay', NO_DECAY),
            lr_factors=cfg.get('lr_factors'),
        )
        wrapper = OPTIM_WRAPPERS.build({**cfg, 'optimizer': build_optimizer(optimizer, groups)})
        return self.strategy.prepare(self.model, wrapper)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """Scale all learning rates by the samples of an optimiser step over ``base_batch_size``, where enabled."""
        if auto_scale_lr and auto_scale_lr.get('enable'):
            stream = self._train_dataloader.batch_sampler
            samples = stream.epoch_size / stream.batches_per_epoch  # of a batch, several in a packed row
            samples *= optim_wrapper.accumulative_counts
            for group in optim_wrapper.optimizer.param_groups:
                group['lr'] *= samples / auto_scale_lr['base_batch_size']

    def build_param_scheduler(self, scheduler: dict | list) -> list:
        """MMEngine's schedulers, stepped once per iteration.

        One without an ``end`` lasts to the end of the run; one that would begin after it is left out, so that a run
        can be shortened by ``max_iters`` alone.
        """
        schedulers = [scheduler] if isinstance(scheduler, dict) else scheduler
        return super().build_param_scheduler([{'by_epoch': False, **cfg} for cfg in schedulers])

    def _build_param_scheduler(self, scheduler: list, optim_wrapper: OptimWrapper) -> list:
        cfgs = [{'end': self.max_iters, **cfg} for cfg in scheduler if cfg.get('begin', 0) < self.max_iters]
        return [PARAM_SCHEDULERS.build(cfg, default_args={'optimizer': optim_wrapper}) for cfg in cfgs]

    def _maybe_compile(self, target: str) -> None:
        """Compile the model's layers, where the config asks for it."""
        if options := self.cfg.get('compile'):
            compile_layers(self.bare_model, **({} if options is True else options))

    # Checkpoints

    def save_checkpoint(
        self, iteration: int, keep: int | None = None, standalone: bool = False, sharded: bool = False
    ) -> Path:
        """Write ``checkpoints/iter_{iteration}``: a Hugging Face folder, and ``training/`` with what resuming needs.

        All processes call it; the first one writes.

        Args:
            iteration: iterations done.
            keep: remove all but the newest ``keep`` checkpoints afterwards.
            standalone: write also the frozen towers that were loaded from a folder or the hub.
            sharded: every process writes what it holds, into ``training/``, in the background: the folder is there when
                all have done so. ``tools/convert.py consolidate`` makes a Hugging Face folder of it.

        Returns:
            the folder.
        """
        target = self.checkpoints.save(iteration, keep, standalone, sharded)
        self.logger.info(f'{"Saving" if sharded else "Saved"} {target}')
        return target

    def train(self) -> nn.Module:
        """Train, and wait for the last checkpoint."""
        try:
            model = super().train()
        except BaseException:
            self.checkpoints.wait()
            raise
        self.checkpoints.finish()
        return model

    def export(self) -> Path:
        """Write the model and its processor to ``W/hf``, in place of what stood there.

        An adapter is merged into its weights, and also written by itself to ``W/adapter`` in peft's layout.

        Returns:
            the folder; it is self-contained.
        """
        target = Path(self.work_dir) / 'hf'
        fields = CardFields(**(self.cfg.get('export') or {}))

        def write() -> None:
            with written_whole(target) as folder:
                save_whole(self.bare_model, folder, fields.max_shard_size)
                self.save_processor(folder)
                self.write_card(folder)
            if has_adapter(self.bare_model):
                with written_whole(target.with_name('adapter')) as folder:
                    save_own_adapter(self.bare_model, folder)

        with self.strategy.whole(self.bare_model):
            on_main(write)
        return target

    def exported_model(self) -> nn.Module:
        """The trained model as a whole on each process, to be evaluated: itself, or where the processes share it what
        ``export`` wrote.
        """
        if not self.strategy.sharded:
            return self.bare_model.eval()
        device = self.trained_module.device
        return type(self.bare_model).from_pretrained(Path(self.work_dir) / 'hf').to(device).eval()

    def write_card(self, folder: Path, metrics: dict[str, Any] | None = None) -> None:
        """Write the model card into an exported folder.

        Args:
            folder: W/hf.
            metrics: what the evaluation gave.
        """
        loop = self.train_loop if isinstance(self._train_loop, BaseLoop) else None
        config = self.cfg.to_dict()
        if isinstance(self.optim_wrapper, OptimWrapper):
            config['optim_wrapper']['precision'] = self.optim_wrapper.precision  # what 'auto' became
        run = Run(
            config=config,
            work_dir=self.work_dir,
            iterations=self.iter if loop else 0,
            seconds=getattr(loop, 'train_seconds', 0.0),
            processes=self.world_size,
            metrics=metrics or {},
        )
        (folder / 'README.md').write_text(model_card(self.bare_model, run), encoding='utf-8')

    def save_processor(self, folder: Path) -> None:
        """Write the processor, where there is one."""
        if self.processor is not None:
            self.processor.save_pretrained(folder)

    def load_or_resume(self) -> None:
        """Resume as ``resume`` says (True: the newest whole checkpoint, or a folder), else load ``load_from``."""
        if self._has_loaded:
            return
        self._has_loaded = True
        if folder := on_main(self._find_checkpoint):
            self.resume(folder)
        elif self._load_from:
            start = partial(load_weights, self.bare_model, Path(self._load_from), start=True)
            self.strategy.load(self.bare_model, start)
            if Path(self.work_dir).resolve() not in Path(self._load_from).resolve().parents:  # else it moves: see below
                self.bare_model.sources = {WHOLE: Source(str(self._load_from))}
            self.logger.info(f'Started from the weights of {self._load_from}')
        on_main(partial(set_aside, self.checkpoint_root, self.iter, self.timestamp, self.logger))

    def _find_checkpoint(self) -> Path | None:
        start = self._load_from or 'the beginning'
        return find_checkpoint(self._resume, self.checkpoint_root, start, self.logger)

    def resume(self, folder: Path) -> None:
        """Continue exactly where the checkpoint in ``folder`` was written.

        Raises:
            CheckpointError: when weights or optimiser do not fit the config.
        """
        if not is_sharded(folder):
            self.strategy.load(self.bare_model, partial(load_weights, self.bare_model, folder))
        elif self.strategy.addressable:
            read_model(self.bare_model, folder)
        else:
            self.strategy.load(self.bare_model, partial(read_model, self.bare_model, folder, alone=True))
        load_training_state(self, folder / 'training')
        self.checkpoints.newest = folder
        self.logger.info(f'Resumed {folder} after {self.iter} iterations')
