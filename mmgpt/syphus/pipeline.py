"""A run from annotations to training data: cold start, generate, parse, filter, translate, build."""

from __future__ import annotations

import asyncio
import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mmgpt.data.whole_file import whole_file
from mmgpt.inference.endpoint import Endpoint
from mmgpt.inference.endpoint_estimate import Estimate, message_tokens
from mmgpt.syphus.card import data_card
from mmgpt.syphus.cold_start import current_prompts
from mmgpt.syphus.items import read_items
from mmgpt.syphus.output import write_files, write_rejected
from mmgpt.syphus.plots import draw_plots
from mmgpt.syphus.progress import Progress
from mmgpt.syphus.report import write_report
from mmgpt.syphus.settings import Settings
from mmgpt.syphus.stages.filter import KEPT, apply_filters
from mmgpt.syphus.stages.generate import Asking, expected, generate
from mmgpt.syphus.stages.parse import parse
from mmgpt.syphus.stages.translate import translate, untranslated
from mmgpt.syphus.state import State
from mmgpt.syphus.statistics import statistics
from mmgpt.syphus.summary import summary

STAGES = ('cold_start', 'generate', 'parse', 'filter', 'translate', 'build')
PAIR_TOKENS = 60  # assumed of an instruction and its answer


class Run:
    """A run in its work dir.

    Args:
        settings: see :func:`~mmgpt.syphus.settings.read_settings`.
        folder: the work dir.
        limit: the first so many items only.
        scratch: folder for a copy of the state, for an estimate that leaves the work dir as it is.

    Raises:
        ValueError: the work dir holds another run, or the input has a fault.

    Example:
        >>> run = Run(read_settings('configs/syphus/digits.py'), Path('work_dirs/syphus'))  # doctest: +SKIP
        >>> run.stages()['kept']  # doctest: +SKIP
        1437
    """

    def __init__(self, settings: Settings, folder: Path, limit: int | None = None, scratch: Path | None = None) -> None:
        self.settings, self.folder, self.limit = settings, folder, limit
        prompts, self.sources = current_prompts(settings.task, folder)
        self.prompts = {part: settings.task.filled(prompt) for part, prompt in prompts.items()}
        self.asking = Asking(settings.task, self.prompts, settings.form)
        place = scratch or folder
        place.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(place / '.lock')
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise ValueError(
                f'{place}: another process is at work there; wait for it, or use another work dir'
            ) from None
        self.state = State(place / 'state.sqlite', limit)
        if scratch and (folder / 'state.sqlite').exists():
            self.state.copy_from(folder / 'state.sqlite')

    def close(self) -> None:
        """Closes the files."""
        self.state.close()
        self._lock.release()

    def begun(self) -> bool:
        """Whether something was asked in the work dir before."""
        return self.state.count('asks') > 0

    def load(self) -> int:
        """Takes the items in; those that a task cannot read are told before anything is asked.

        Returns:
            how many there are.
        """
        items = read_items(self.settings.input, self.limit)
        self.state.add_items(map(self.settings.task.checked, items), str(self.settings.input))
        if not self.state.count('items'):
            raise ValueError(f'{self.settings.input}: there is no item in it')
        return self.state.count('items')

    def identity(self) -> dict[str, Any]:
        """What replies depend on."""
        sampling = {'model': self.settings.endpoint['model'], 'sampling': self.settings.endpoint.get('sampling', {})}
        prompts = {part: prompt.digest() for part, prompt in self.prompts.items()}
        return {**sampling, 'form': self.settings.form, 'prompts': prompts}

    def check_identity(self, anew: bool) -> None:
        """The replies of a run come from one model, one prompt and one text of each item's query.

        Args:
            anew: what was generated before is forgotten anyway.

        Raises:
            ValueError: the config is another than the one that the run began with.
        """
        known, now, items = self.state.get('identity'), self.identity(), self.state.count('items')
        queries = self._queries(items)
        if known is not None and not anew and self.state.count('asks'):
            changed = [name for name in now if now[name] != known.get(name)]
            count, before = self.state.get('queries', (0, self._queries(0)))
            if not changed and (queries if count == items else self._queries(count)) != before:
                changed = ['text of the queries']
            if changed:
                raise ValueError(
                    f'{self.folder}: the run began with another {", ".join(changed)}. Generate anew by --stage '
                    'generate, which asks only what was not asked before, or use another work dir'
                )
        self.state.set('queries', (items, queries))
        self.state.set('identity', now)

    def _queries(self, count: int) -> str:
        """A hash of what is said about the first so many items, which others may have followed since."""
        digest, task = hashlib.sha256(), self.settings.task
        for _, item in islice(self.state.items(), count):
            for part in task.parts:
                digest.update(json.dumps(task.query(item, part)).encode())
        return digest.hexdigest()[:16]

    # Estimates

    def estimate(self, endpoint: Endpoint) -> list[tuple[str, Estimate]]:
        """What each stage that asks would take from here on; nothing is asked."""
        settings = self.settings
        told = [('generate', expected(self.state, self.asking, endpoint, settings.task.number * PAIR_TOKENS))]
        pairs = told[0][1].requests * settings.task.number + self.state.count('pairs', 'verdict IS NULL')
        if any(one.asks for one in settings.filters):
            told.append(('filter', endpoint.estimate(pairs, 150, 3)))
        if settings.translator is not None and settings.translator.languages:
            languages = len(settings.translator.languages)
            prompt = message_tokens(settings.translator.messages('', '', settings.translator.languages)) + PAIR_TOKENS
            left = pairs + untranslated(self.state, settings.translator)
            estimate = endpoint.estimate(left, prompt, 1.3 * PAIR_TOKENS * languages)
            told.append(('translate', estimate))
            if settings.translator.least is not None:
                told.append(('translate back', endpoint.estimate(2 * left * languages, 80, PAIR_TOKENS / 2)))
        return told

    # Stages

    def stages(self, only: str | None = None) -> dict[str, Any]:
        """Runs the stages that are not done, or makes one of them anew; those after it then wait for it.

        Args:
            only: a stage of ``STAGES`` but 'cold_start', which is a page for people.

        Returns:
            the summary, as ``summary.json`` has it.

        Raises:
            EndpointError, BudgetExhausted: the run stopped; resuming goes on where it did.
        """
        if only is not None:
            self.check_identity(only == 'generate')
            self._require(only)
            self.state.clear_from(only)
        else:
            self.check_identity(False)
            if any(self.state.unasked(part) for part in self.settings.task.parts):
                self.state.forget(STAGES[1:])  # new items, lost replies, failed requests: a new run, a new try
            elif self.settings.translator is not None and untranslated(self.state, self.settings.translator):
                self.state.forget(('translate', 'build'))  # a language was added, or requests failed
        return asyncio.run(self._stages([only] if only else list(STAGES[1:])))

    def _require(self, stage: str) -> None:
        before = STAGES[1 : STAGES.index(stage)]
        missing = [name for name in before if not self.state.get(f'done {name}')]
        if missing == ['translate'] and stage == 'build':
            return  # English alone can be built
        if missing and not (stage == 'parse' and self.state.count('asks')):
            raise ValueError(f'{self.folder}: stage {stage} needs {missing[0]} before it: --stage {missing[0]}')

    async def _stages(self, names: list[str]) -> dict[str, Any]:
        async with self.settings.open_endpoint(self.folder) as endpoint:
            for name in names:
                if not self.state.get(f'done {name}'):
                    await getattr(self, f'_{name}')(endpoint)
                    self.state.set(f'done {name}', True)
                if name == 'generate' and len(names) > 1:
                    await self._ask_again(endpoint)
            return self._summary(endpoint)

    async def _generate(self, endpoint: Endpoint) -> None:
        """Asks every item once; by itself, also those whose replies an earlier parse has rejected."""
        for attempt in range(self.settings.max_asks):
            waiting = sum(1 for part in self.settings.task.parts for _ in self.state.pending(part, attempt))
            if waiting:
                with Progress(f'generate, attempt {attempt + 1}', waiting, endpoint) as progress:
                    await generate(self.state, self.asking, endpoint, attempt, progress.tick)

    async def _ask_again(self, endpoint: Endpoint) -> None:
        """Parses, and asks again what could not be read, up to the set number of times."""
        for attempt in range(self.settings.max_asks):
            if self._unread(attempt):
                self.state.forget(STAGES[2:])  # what comes of it has to be filtered and built
            self._parse_attempt(attempt, endpoint)
            if attempt + 1 < self.settings.max_asks and any(
                True for part in self.settings.task.parts for _ in self.state.pending(part, attempt + 1)
            ):
                with Progress(f'ask again, attempt {attempt + 2}', None, endpoint) as progress:
                    await generate(self.state, self.asking, endpoint, attempt + 1, progress.tick)

    def _unread(self, attempt: int) -> int:
        return self.state.count('asks', "outcome = 'answered' AND attempt = ?", (attempt,))

    def _parse_attempt(self, attempt: int, endpoint: Endpoint) -> None:
        if waiting := self._unread(attempt):
            with Progress(f'parse, attempt {attempt + 1}', waiting) as progress:
                parse(self.state, self.settings.task, endpoint.cache, attempt, progress.tick)

    async def _parse(self, endpoint: Endpoint) -> None:
        for attempt in range(self.settings.max_asks):
            self._parse_attempt(attempt, endpoint)

    async def _filter(self, endpoint: Endpoint) -> None:
        self.state.clear_from('filter')  # of a run that was killed within
        with Progress('filter', self.state.count('pairs')) as progress:
            await apply_filters(self.state, self.settings.task, self.settings.filters, endpoint, progress.tick)
        kept = 'SELECT id FROM pairs WHERE verdict = ?'
        self.state.write(f'DELETE FROM translations WHERE pair NOT IN ({kept})', (KEPT,))

    async def _translate(self, endpoint: Endpoint) -> None:
        if self.settings.translator is not None:
            with Progress('translate', untranslated(self.state, self.settings.translator), endpoint) as progress:
                await translate(self.state, self.settings.translator, endpoint, progress.tick)

    async def _build(self, endpoint: Endpoint) -> None:
        settings = self.settings
        languages = self.languages()
        author = settings.author or f'mmgpt Syphus, {endpoint.model}'
        files = write_files(self.state, settings.task, self.folder, languages, author)
        write_rejected(self.state, self.folder / 'rejected.jsonl')
        figures = statistics(self.state, settings.task, languages)
        _write_json(self.folder / 'statistics.json', figures)
        draw_plots(figures, self.folder / 'plots')
        told, run = self._summary(endpoint), self.description(files)
        (self.folder / 'README.md').write_text(data_card(told, figures, run), encoding='utf-8')
        write_report(self.folder, self.state, told, figures, run)

    def languages(self) -> list[str]:
        """The languages, beyond English, that there are translations into."""
        return [row[0] for row in self.state.base.execute('SELECT DISTINCT language FROM translations ORDER BY 1')]

    def description(self, files: dict[str, int]) -> dict[str, Any]:
        """What the card and the report tell of the run."""
        settings = self.settings
        return {
            **self.identity(),
            'name': settings.task.subset,
            'task': type(settings.task).__name__,
            'sources': self.sources,
            'input': str(settings.input),
            'files': files,
            'filters': {type(one).__name__: one.explanation() for one in settings.filters},
            'systems': {part: prompt.system for part, prompt in self.prompts.items()},
        }

    def _summary(self, endpoint: Endpoint) -> dict[str, Any]:
        told = summary(self.state, self.settings, endpoint)
        _write_json(self.folder / 'summary.json', told)
        return told


def _write_json(path: Path, value: Any) -> None:
    with whole_file(path) as partial:
        partial.write_text(json.dumps(value, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
