"""Training until a score is reached: the digits demo by our Runner, and its peer by transformers' Trainer."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import PARAM_SCHEDULERS

from mmgpt.data.collate import PadCollate
from mmgpt.engine.build import build_parts
from mmgpt.engine.module import evaluating
from mmgpt.engine.optimizer import build_optimizer, parameter_groups
from mmgpt.engine.runner import Runner
from mmgpt.engine.state import untouched_rng

SIDES = ('ours', 'idefics')
HELD_BACK = 240  # the last of the pictures for training, which are not trained on here but asked about


@dataclass(frozen=True)
class Race:
    """What both sides run to.

    Args:
        precision: of the peer, 'fp32' or 'bf16'; ours is the config's.
        seed: of weights and data.
        target: the score to reach.
        every: iterations from one scoring to the next.
        episodes: of a scoring.
        attention: of the peer; ours is the config's.
        rate: factor on the config's learning rates for the peer.
        start: of the peer: 'ours' or its 'own' first weights and gates.
    """

    precision: str
    seed: int = 0
    target: float = 0.9
    every: int = 50
    episodes: int = 400
    attention: str = 'eager'
    rate: float = 1.0
    start: str = 'ours'


class Watch:
    """Counts the seconds of the training alone, and scores every so many iterations.

    Args:
        score: what the model is worth now.
        race: see there.
        limit: seconds after which to give up, asked after each iteration.
    """

    def __init__(self, score: Callable[[], float], race: Race, limit: Callable[[], float]) -> None:
        self.score, self.race, self.limit = score, race, limit
        self.seconds, self.processor, self.iteration, self.reached = 0.0, 0.0, 0, False
        self.curve: list[dict[str, float]] = []
        self._losses: list[float] = []
        self._since = self._used = 0.0

    def start(self) -> None:
        """The training begins, or goes on."""
        self._since, self._used = time.perf_counter(), time.process_time()

    def after(self, iteration: int, loss: float) -> bool:
        """After an iteration, whether the training is over."""
        self.seconds += time.perf_counter() - self._since
        self.processor += time.process_time() - self._used
        self.iteration = iteration
        self._losses.append(loss)
        if iteration % self.race.every == 0:
            with untouched_rng():
                score = self.score()
            loss, self._losses = statistics.fmean(self._losses), []
            self.curve.append({'iteration': iteration, 'seconds': self.seconds, 'score': score, 'loss': loss})
            self.reached = score >= self.race.target
        self.start()
        return self.reached or self.seconds > self.limit()

    def result(self) -> dict[str, Any]:
        """What came of it."""
        each = self.seconds / max(1, self.iteration)
        found = {'reached': self.reached, 'iterations': self.iteration, 'seconds': self.seconds}
        return {**found, 'processor_seconds': self.processor, 'seconds_per_iteration': each, 'curve': self.curve}


def train(side: str, cfg: Any, race: Race, limit: Callable[[], float] = lambda: float('inf')) -> dict[str, Any]:
    """Trains one side until it reaches the target, or the limit, or the end of the config's iterations.

    Args:
        side: of ``SIDES``.
        cfg: of ``demo_config``.
        race: see there.
        limit: seconds after which to give up.

    Returns:
        ``Watch.result``, with the settings of the race.
    """
    cfg = deepcopy(cfg)
    torch.set_num_threads(cfg.env_cfg.num_threads)
    cfg.randomness = dict(seed=race.seed)
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = folder
        found = {'ours': _ours, 'idefics': _idefics}[side](cfg, race, limit)
    return {**found, 'race': asdict(race)}


def train_apart(side: str, cfg: Any, race: Race, limit: Any, cores: Sequence[int], results: Any) -> None:
    """``train`` in a process and on cores of its own; ``limit`` is a shared number, ``results`` a queue."""
    os.sched_setaffinity(0, cores)
    try:
        results.put((side, train(side, cfg, race, lambda: limit.value)))
    except BaseException as error:
        results.put((side, f'{type(error).__name__}: {error}'))
        raise


def _ours(cfg: Any, race: Race, limit: Callable[[], float]) -> dict[str, Any]:
    parts = build_parts(cfg)
    score = partial(naming, parts.model, parts.model, parts.processor, race.episodes, cfg.optim_wrapper.precision)
    watch = Watch(score, race, limit)
    runner = Runner(parts.model, parts.processor, parts.dataloader, cfg)
    runner.register_hook(WatchHook(watch), priority='LOWEST')
    runner.train()
    return watch.result()


class WatchHook(Hook):
    """Lets a watch see our training."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def before_train(self, runner: Any) -> None:
        self.watch.start()

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        sums = outputs['sums']
        runner.train_loop.stop_training = self.watch.after(runner.iter + 1, (sums.loss_sum / sums.weight_sum).item())


def _idefics(cfg: Any, race: Race, limit: Callable[[], float]) -> dict[str, Any]:
    from torch.utils.data import DataLoader
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    from bench.digits_peer import AnsweringIdefics

    cfg.train_dataloader.padding_free = False
    parts = build_parts(cfg)  # the same first weights, the same stream of samples
    peer, shape = _peer(cfg, parts.model, race)
    ahead = {name: cfg.train_dataloader[name] for name in ('num_workers', 'prefetch_factor')}
    loader = DataLoader(
        parts.dataloader.dataset,
        batch_sampler=parts.dataloader.batch_sampler,
        collate_fn=Then(parts.dataloader.collate_fn, shape),
        **ahead,
    )
    asked = AnsweringIdefics(peer, shape.mark)
    score = partial(naming, peer, asked, parts.processor, race.episodes, race.precision)
    watch = Watch(score, race, limit)
    losses = []

    class OnTheStream(Trainer):
        def get_train_dataloader(self):
            return loader

        def training_step(self, *args, **kwargs):
            losses.append(super().training_step(*args, **kwargs))
            return losses[-1]

    class Watching(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            watch.start()

        def on_step_end(self, args, state, control, **kwargs):
            if watch.after(state.global_step, losses.pop().item()):
                control.should_training_stop = True

    wrapper, iterations = cfg.optim_wrapper, cfg.train_cfg.max_iters
    optimizer = _optimizer(cfg, peer, race)
    shares = learning_rates(cfg.param_scheduler, iterations)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: shares[min(step, iterations - 1)])
    arguments = TrainingArguments(
        output_dir=cfg.work_dir,
        max_steps=iterations,
        max_grad_norm=wrapper.clip_grad.max_norm,
        bf16=race.precision == 'bf16',
        use_cpu=True,
        seed=race.seed,
        save_strategy='no',
        logging_steps=cfg.default_hooks.logger.interval,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        log_level='error',
    )
    trainer = OnTheStream(
        peer, arguments, train_dataset=parts.dataloader.dataset, optimizers=(optimizer, schedule), callbacks=[Watching]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return watch.result()


def _peer(cfg: Any, ours: torch.nn.Module, race: Race) -> tuple[torch.nn.Module, Callable]:
    """Idefics, and what makes its batches of ours."""
    from bench.digits_peer import IdeficsBatch, idefics_like

    encoder = ours.vision_encoder
    shape = IdeficsBatch(ours.config.media_token_id, encoder.mean, encoder.std)
    return idefics_like(cfg.model, ours, race.attention, race.start), shape


def _optimizer(cfg: Any, peer: torch.nn.Module, race: Race) -> torch.optim.Optimizer:
    wrapper = cfg.optim_wrapper
    rates = {**wrapper.optimizer, 'lr': wrapper.optimizer.lr * race.rate}
    factors = {'*embed_tokens*': wrapper.lr_factors['*embed_tokens*']}  # there are no embeddings of frames
    groups = parameter_groups(peer, rates['lr'], rates['weight_decay'], lr_factors=factors)
    return build_optimizer(rates, groups)


def step_costs(cfg: Any, race: Race, steps: int) -> dict[str, list[float]]:
    """Processor seconds of steps of both sides on the same batches, in turns on one thread; nothing else of a training.

    Args:
        cfg: of ``demo_config``.
        race: see there.
        steps: how many, after two that do not count.

    Returns:
        by side, and of making each of the batches.
    """
    torch.set_num_threads(cfg.env_cfg.num_threads)
    cfg.randomness = dict(seed=race.seed)
    parts = build_parts(cfg)
    peer, shape = _peer(cfg, parts.model, race)
    loader, rows = parts.dataloader, PadCollate(parts.processor.tokenizer.pad_token_id)
    precisions = {'ours': cfg.optim_wrapper.precision, 'idefics': race.precision}
    models = {'ours': parts.model.train(), 'idefics': peer.train()}
    optimizers = {side: _optimizer(cfg, model, race) for side, model in models.items()}
    taken: dict[str, list[float]] = {'batch': [], 'ours': [], 'idefics': []}
    for addresses in islice(loader.batch_sampler, steps + 2):
        start = time.process_time()
        items = loader.dataset.__getitems__(addresses)
        batches = {'ours': loader.collate_fn(items)}
        taken['batch'].append(time.process_time() - start)
        batches['idefics'] = shape(rows(items))
        for side, model in models.items():
            start = time.process_time()
            with torch.autocast('cpu', torch.bfloat16, enabled=precisions[side] == 'bf16'):
                if side == 'ours':
                    sums = model.compute_loss(batches[side])
                    loss = sums.loss_sum / sums.weight_sum
                else:
                    loss = model(**batches[side]).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), cfg.optim_wrapper.clip_grad.max_norm)
            optimizers[side].step()
            optimizers[side].zero_grad()
            taken[side].append(time.process_time() - start)
    return {name: seconds[2:] for name, seconds in taken.items()}


class Then:
    """One collate function after the other, for workers."""

    def __init__(self, first: Callable, second: Callable) -> None:
        self.first, self.second = first, second

    def __call__(self, items: Sequence[Any]) -> Any:
        return self.second(self.first(items))


def learning_rates(schedulers: Sequence[dict], iterations: int) -> list[float]:
    """What our Runner multiplies the learning rate by at each iteration."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    built = [
        PARAM_SCHEDULERS.build(
            {'by_epoch': False, 'end': iterations, **scheduler}, default_args={'optimizer': optimizer}
        )
        for scheduler in schedulers
        if scheduler.get('begin', 0) < iterations
    ]
    found = []
    for _ in range(iterations):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return found


def naming(model: torch.nn.Module, asked: Any, processor: Any, count: int, precision: str) -> float:
    """Share of right answers of naming with 4 demonstrations, on pictures that were held back from the training.

    Args:
        model: whose mode is evaluation meanwhile.
        asked: it, with ``generate`` as our models have it.
        processor: ours.
        count: of episodes. They are the same ones each time, for all seeds.
        precision: 'fp32' or 'bf16', as in the training: what accelerate makes of a model stays in it.
    """
    from mmgpt.data.builders.digit_pictures import Digits, load_digit_pictures
    from mmgpt.evaluation.answering import answer
    from mmgpt.evaluation.digit_episodes import make_episodes

    digits = load_digit_pictures()
    digits = Digits(digits.pictures[-HELD_BACK:], digits.labels[-HELD_BACK:])
    episodes = make_episodes(digits, count, seed=0)['naming/4']
    with evaluating(model), torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bf16'):
        answers = answer(asked, processor, [episode.messages() for episode in episodes])
    return sum(given == episode.expected for given, episode in zip(answers, episodes, strict=True)) / len(episodes)
