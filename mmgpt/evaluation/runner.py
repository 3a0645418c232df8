"""Puts a model through a task: for each number of shots and each seed all queries, each exactly once."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from itertools import islice, permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mmengine.dist import all_gather_object, get_rank, get_world_size

from mmgpt import __version__
from mmgpt.evaluation.controls import CONTROLS, controlled, with_copies
from mmgpt.evaluation.figures import check_finite, check_scores, over_trials, table
from mmgpt.evaluation.items import Answer, Generation, Item, Prompt, Ranking, Scores
from mmgpt.evaluation.models import EvaluatedModel, evaluated
from mmgpt.evaluation.plan import plan_batches
from mmgpt.evaluation.predictions import Predictions, answer_of, is_stale, line_of
from mmgpt.evaluation.progress import Progress
from mmgpt.evaluation.prompts import PromptWriter, without_media
from mmgpt.evaluation.published import beside
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.inference.endpoint import RequestRefused
from mmgpt.registry import DEMONSTRATIONS, EVALUATION_TASKS, TASKS

MOST_PERMUTATIONS = 6  # of an ensemble


@TASKS.register_module()
class Evaluation:
    """An evaluation by a task of ``EVALUATION_TASKS``: few-shot prompts, batches, several processes, resuming.

    An interrupted run goes on where it was: what ``predictions.jsonl`` holds, asked with the same settings of the same
    model, is not asked again.

    Args:
        task: the task, or its config.
        shots: numbers of demonstrations.
        seeds: of what is drawn, one trial for each; figures are their mean with its standard deviation.
        demonstrations: config of how they are chosen (``Random``, ``Rices``, ``Fixed``, ``FromFile``, …). Default: as
            the task has it, which is ``Random`` of most.
        zero_shot: what stands before the query where ``shots`` is 0: nothing ('none'), or two demonstrations without
            their pictures ('text_only', as Flamingo and OpenFlamingo have it).
        permutations: the choices of a ranking are scored behind so many orders of the demonstrations, at most 6, and
            their log-probabilities are averaged.
        style: of the prompts, see ``mmgpt.evaluation.prompts``. Default: what fits the model's template.
        answering: changes of the task's settings of generation or ranking, such as ``dict(num_beams=1)``.
        batch_size: prompts that are answered together.
        num_samples: so many queries are drawn, without putting back, by each seed; somewhat fewer where the task scores
            several together, such as MME's two of a picture, which are drawn together. Default: all.
        control: spoils the demonstrations in one way, see ``mmgpt.evaluation.controls``, to tell what of them is used.
            Default: none does.

    Raises:
        ValueError: a setting out of its range.

    Example::

        from mmgpt.evaluation import Evaluation
        from mmgpt.hub.io import load_folder

        evaluation = Evaluation(dict(type='VQA', questions=..., ...), shots=[0, 4], seeds=[0, 1, 2])
        metrics = evaluation(*load_folder('work_dirs/my_model/hf'), Path('figures'), limit=100)
    """

    def __init__(
        self,
        task: EvaluationTask | dict[str, Any],
        shots: Sequence[int] = (0,),
        seeds: Sequence[int] = (42,),
        demonstrations: dict[str, Any] | None = None,
        zero_shot: Literal['none', 'text_only'] = 'none',
        permutations: int = 1,
        style: str | None = None,
        answering: dict[str, Any] | None = None,
        batch_size: int = 8,
        num_samples: int | None = None,
        control: str | None = None,
    ) -> None:
        if isinstance(task, str):
            raise ValueError(f'task must be a config such as dict(type={task!r}, …) with its files, got {task!r}')
        self.task = EVALUATION_TASKS.build(dict(task)) if isinstance(task, Mapping) else task
        demonstrations = demonstrations or self.task.demonstrations
        self.settings = {
            'task': dict(task) if isinstance(task, Mapping) else repr(task),
            'demonstrations': dict(demonstrations),
            'zero_shot': zero_shot,
            'permutations': permutations,
            'style': style,
            'batch_size': batch_size,
            'num_samples': num_samples,
            'control': control,
        }
        self.shots, self.seeds = list(shots), list(seeds)
        self.demonstrations = DEMONSTRATIONS.build(dict(demonstrations))
        self.zero_shot, self.permutations = zero_shot, permutations
        self.batch_size, self.num_samples, self.control = batch_size, num_samples, control
        self.writer = PromptWriter(self.task, style)
        self.answering = _changed(self.task.answering, answering or {})
        self.settings['answering'] = asdict(self.answering)
        self._check()

    def _check(self) -> None:
        for name, values, least in (('shots', self.shots, 0), ('seeds', self.seeds, 0)):
            if not values or any(not isinstance(value, int) or value < least for value in values):
                raise ValueError(f'{name} must be a list of at least one integer of at least {least}, got {values!r}')
            if len(set(values)) < len(values):
                raise ValueError(f'{name} must differ from each other, got {values!r}')
        if self.zero_shot not in ('none', 'text_only'):
            raise ValueError(f"zero_shot must be 'none' or 'text_only', got {self.zero_shot!r}")
        if self.control not in (None, *CONTROLS):
            raise ValueError(f'control must be one of {", ".join(CONTROLS)} or None, got {self.control!r}')
        if self.batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {self.batch_size}')
        if self.num_samples is not None and self.num_samples < 1:
            raise ValueError(f'num_samples must be at least 1, or None for all, got {self.num_samples}')
        if not 1 <= self.permutations <= MOST_PERMUTATIONS:
            raise ValueError(f'permutations must be from 1 to {MOST_PERMUTATIONS}, got {self.permutations}')
        if self.permutations > 1 and isinstance(self.answering, Generation):
            raise ValueError(f'{self.task.name} writes its answers: orders are averaged where choices are ranked')

    def __call__(self, model: Any, processor: Any, out: Path, limit: int | None = None) -> dict[str, Any]:
        """Asks everything, prints the figures and writes ``predictions.jsonl``, ``metrics.json`` and files of answers.

        Args:
            model: a ``Flamingo``, or an ``EvaluatedModel``.
            processor: the model's; None with an ``EvaluatedModel``.
            out: the folder to write to.
            limit: ask at most the first so many queries; those that are scored together are not taken apart.

        Returns:
            ``{'task', 'main', 'model', 'rows': [{'shots', 'trials', 'mean', 'stddev', 'figures', 'groups'}],
            'published', 'settings', 'versions'}``; ``figures`` has a list over trials for each figure. Questions that
            the model's server refused count as wrong and are the figure ``unanswered``; another run asks them again.
        """
        subject = evaluated(model, processor)
        if isinstance(self.answering, Ranking) and not subject.can_rank:
            raise ValueError(f'{self.task.name} ranks its choices by likelihood, which {subject.name} does not tell')
        predictions = Predictions(out, {**self.settings, 'limit': limit, 'model': [subject.name, subject.fingerprint]})
        try:
            trials, keys, further = self._trials(subject, predictions, out, limit)
        except BaseException:
            predictions.close()
            raise
        predictions.finish(keys, further)
        metrics = {
            'task': self.task.name,
            'main': self.task.main,
            'model': subject.name,
            'rows': [over_trials(shots, scored, self.task.main) for shots, scored in trials.items()],
            'published': beside(self.task.dataset or self.task.name),
            'settings': {**self.settings, 'shots': self.shots, 'seeds': self.seeds, 'limit': limit},
            'versions': versions(),
        }
        (out / 'metrics.json').write_text(json.dumps(metrics, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
        print(table(metrics), flush=True)
        return metrics

    def results(self, metrics: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """The main figure by number of shots, as ``results.json`` has it."""
        names = ('shots', 'trials', 'mean', 'stddev')
        return {metrics['task']: [{name: row[name] for name in names} for row in metrics['rows'] if row['trials']]}

    def prompts(self, queries: Sequence[Item], shots: int, seed: int) -> list[Prompt]:
        """The prompts of a trial."""
        pool = self.task.pool if shots or self.zero_shot == 'text_only' else ()
        text_only = shots == 0 and self.zero_shot == 'text_only'
        chosen = self.demonstrations.choose(queries, pool, 2 if text_only else shots, seed)
        for place in {place for places in chosen for place in places}:
            self.task.check_prompt(pool[place])
        shown = [tuple(pool[place] for place in places) for places in chosen]
        if text_only:
            shown = [without_media(items) for items in shown]
        prompts = [Prompt(items, query) for items, query in zip(shown, queries, strict=True)]
        return prompts if self.control is None or not shots else controlled(prompts, self.control, pool, seed)

    def queries(self, seed: int, limit: int | None = None) -> list[Item]:
        """The queries of a trial; those that are scored together are drawn, or left out, together.

        Raises:
            ValueError: there are none, or more are scored together than should be asked.
        """
        queries = list(self.task.queries)
        if not queries:
            raise ValueError(f'{self.task.name} has no queries: are its files those of the right split?')
        if self.num_samples is not None and self.num_samples < len(queries):
            queries = self._whole(queries, self.num_samples, np.random.RandomState(seed))
        return queries if limit is None or limit >= len(queries) else self._whole(queries, limit)

    def _whole(self, queries: Sequence[Item], most: int, rng: np.random.RandomState | None = None) -> list[Item]:
        """At most so many queries, none without those that are scored with it: the first ones, or drawn ones."""
        units: dict[Hashable, list[Item]] = {}
        for query in queries:
            units.setdefault(self.task.unit(query), []).append(query)
        few = list(units.values())
        if rng is not None:
            few = [few[place] for place in rng.permutation(len(few))]
        fitting = int(np.searchsorted(np.cumsum([*map(len, few)]), most, side='right'))
        if not fitting:
            raise ValueError(
                f'{self.task.name}: {few[0][0].id!r} is one of {len(few[0])} questions that are scored together, and '
                f'{most} should be asked: make num_samples or --limit at least {len(few[0])}'
            )
        return [query for unit in few[:fitting] for query in unit]

    def _trials(
        self, subject: EvaluatedModel, predictions: Predictions, out: Path, limit: int | None
    ) -> tuple[dict[int, list[Scores]], list[tuple], dict[tuple, dict]]:
        trials: dict[int, list[Scores]] = {}
        keys, further = [], {}
        for shots in self.shots:
            for seed in self.seeds:
                queries = self.queries(seed, limit)
                prompts = self.prompts(queries, shots, seed)
                own = {'task': self.task.name, 'shots': shots, 'seed': seed}
                answers = self._answers(subject, prompts, predictions, own)
                scores = self.task.score(queries, answers)
                check_scores(scores, self.task, len(queries))
                scores = with_copies(scores, prompts, answers)
                if unanswered := sum(bool(answer.unanswered) for answer in answers):
                    scores = replace(scores, figures={**scores.figures, 'unanswered': float(unanswered)})
                check_finite(scores, f'{self.task.name}, {shots} shots, seed {seed}')
                trials.setdefault(shots, []).append(scores)
                for number, query in enumerate(queries):
                    key = predictions.key({**own, 'id': query.id})
                    keys.append(key)
                    if scores.items is not None and scores.items[number] is not None:
                        further[key] = {'score': scores.items[number]}
                self._write_files(queries, answers, out, shots, seed)
        return trials, keys, further

    def _answers(
        self, subject: EvaluatedModel, prompts: Sequence[Prompt], predictions: Predictions, own: dict[str, Any]
    ) -> list[Answer]:
        """The answers to the prompts of a trial; the processes share the batches."""
        keys = [predictions.key({**own, 'id': prompt.query.id}) for prompt in prompts]
        if len(set(keys)) < len(keys):
            raise ValueError(f'{self.task.name}: two queries have the same id')
        for key, prompt in zip(keys, prompts, strict=True):
            if key in predictions.lines and is_stale(predictions.lines[key], prompt):
                del predictions.lines[key]
        if any(key not in predictions.lines for key in keys):
            self._ask_missing(subject, prompts, keys, predictions, own)
        lines = [predictions.lines[key] for key in keys]
        refused = [line for line in lines if line.get('unanswered')]
        if len(refused) == len(lines):
            raise ValueError(
                f'{subject.name} answered none of {len(lines)} questions, {refused[0]["id"]!r} for this reason: '
                f'{refused[0]["unanswered"]}'
            )
        return [answer_of(line) for line in lines]

    def _ask_missing(
        self,
        subject: EvaluatedModel,
        prompts: Sequence[Prompt],
        keys: Sequence[tuple],
        predictions: Predictions,
        own: dict[str, Any],
    ) -> None:
        """Asks the batches in which an answer is missing; the processes take them in turn, all learn the answers."""
        lengths = subject.lengths(prompts, self.writer)
        ranked = isinstance(self.answering, Ranking)
        batches = plan_batches(prompts, lengths, self.batch_size, equal_lengths=ranked)
        waiting = [batch for batch in batches if any(keys[place] not in predictions.lines for place in batch)]
        what = f'{self.task.name}, {own["shots"]} shots, seed {own["seed"]}'
        progress = Progress(what, len(keys), len(keys) - sum(map(len, waiting)))
        for start in range(0, len(waiting), get_world_size()):
            mine = waiting[start + get_rank() : start + get_rank() + 1]  # none where fewer than the processes are left
            asked = [prompts[place] for batch in mine for place in batch]
            lines = self._ask(subject, asked) if asked else []
            made = [{**own, 'id': prompt.query.id, **line} for prompt, line in zip(asked, lines, strict=True)]
            gathered = [line for share in all_gather_object(made) for line in share]
            predictions.add(gathered)
            progress.advance(len(gathered))
        progress.close()

    def _ask(self, subject: EvaluatedModel, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
        """What is written of the answers to a batch."""
        if isinstance(self.answering, Generation):
            raw = subject.generate(prompts, self.writer, self.answering)
            answers = [
                Answer('', unanswered=str(text) or 'refused')
                if isinstance(text, RequestRefused)
                else Answer(self.task.clean(text), text)
                for text in raw
            ]
        else:
            answers = self._ranked(subject, prompts, self.answering)
        return [line_of(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]

    def _ranked(self, subject: EvaluatedModel, prompts: Sequence[Prompt], how: Ranking) -> list[Answer]:
        choices = [how.choices or prompt.query.choices for prompt in prompts]
        orders = [list(islice(permutations(prompt.demonstrations), self.permutations)) for prompt in prompts]
        # the first order of all prompts, then the second one, …: they stay together that are of one length
        sums = [np.zeros(len(few)) for few in choices]
        for number in range(max(map(len, orders))):
            places = [place for place, few in enumerate(orders) if number < len(few)]
            asked = [Prompt(orders[place][number], prompts[place].query) for place in places]
            ranked = subject.rank(asked, [choices[place] for place in places], self.writer, how.normalisation)
            for place, scores in zip(places, ranked, strict=True):
                for choice, score in zip(choices[place], scores, strict=True):
                    if not np.isfinite(score):
                        raise ValueError(
                            f'{prompts[place].query.id!r}: the score of {choice!r} should be a finite number, and is '
                            f'{score}: the model overflows; try another dtype, such as --dtype float32'
                        )
                sums[place] += np.asarray(scores)
        means = [total / len(few) for total, few in zip(sums, orders, strict=True)]
        return [
            Answer(few[int(scores.argmax())], '', tuple(map(float, scores)))
            for few, scores in zip(choices, means, strict=True)
        ]

    def _write_files(
        self, queries: Sequence[Item], answers: Sequence[Answer], out: Path, shots: int, seed: int
    ) -> None:
        for ending, value in self.task.files(queries, answers).items():
            path = out / f'{self.task.name}_{shots}shots_seed{seed}_{ending}'
            path.write_text(json.dumps(value, ensure_ascii=False) + '\n', encoding='utf-8')


def _changed(answering: Generation | Ranking, changes: Mapping[str, Any]) -> Generation | Ranking:
    known = [field.name for field in fields(answering)]
    if wrong := [name for name in changes if name not in known]:
        raise ValueError(f'answering has no {wrong[0]!r}; a {type(answering).__name__} has {", ".join(known)}')
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    return replace(answering, **changes)


def versions() -> dict[str, str]:
    """Of what figures may depend on."""
    import torch
    import transformers

    return {'mmgpt': __version__, 'torch': torch.__version__, 'transformers': transformers.__version__}
