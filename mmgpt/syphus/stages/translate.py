"""Translates the pairs that were kept; what is not a translation is asked again, then dropped with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmgpt.inference.endpoint import Endpoint
from mmgpt.syphus.stages.filter import KEPT
from mmgpt.syphus.stages.generate import each
from mmgpt.syphus.state import State
from mmgpt.syphus.translation import Translator

WAITING = (
    "verdict = ? AND (SELECT count(*) FROM translations t WHERE t.pair = pairs.id AND t.verdict <> 'failed' "
    'AND t.language IN ({0})) < ?'
)


def untranslated(state: State, translator: Translator) -> int:
    """How many kept pairs wait for a language, or for another try of one whose request failed."""
    return state.count('pairs', *_waiting(translator))


def _waiting(translator: Translator) -> tuple[str, tuple]:
    marks = ', '.join(f"'{language}'" for language in translator.languages)  # names of our own table
    return WAITING.format(marks), (KEPT, len(translator.languages))


async def translate(state: State, translator: Translator, endpoint: Endpoint, tick: Callable[[], None]) -> None:
    """Translates every kept pair into every language that it is not in yet."""
    languages = translator.languages
    state.write("DELETE FROM translations WHERE verdict = 'failed'")  # a new run, a new try
    condition, values = _waiting(translator)

    def jobs() -> Iterator[tuple[int, str, str]]:
        query = f'SELECT id, instruction, answer FROM pairs WHERE {condition} AND id > ? ORDER BY id'
        yield from state.rows(query, values)

    async def work(job: tuple[int, str, str]) -> None:
        pair, instruction, answer = job
        done = state.base.execute('SELECT language FROM translations WHERE pair = ?', (pair,)).fetchall()
        left = [language for language in languages if (language,) not in done]
        found = await translator.translate(instruction, answer, left, endpoint)
        rows = [(pair, name, m.attempt, m.instruction, m.answer, m.verdict, m.detail) for name, m in found.items()]
        state.write_all('INSERT OR REPLACE INTO translations VALUES (?, ?, ?, ?, ?, ?, ?)', rows)
        tick()

    try:
        await each(jobs(), work, endpoint.concurrency)
    finally:
        state.commit()
