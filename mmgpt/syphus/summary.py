"""The figures of a run, as ``summary.json`` has them."""

from __future__ import annotations

from typing import Any

from mmgpt.inference.endpoint import Endpoint
from mmgpt.syphus.settings import Settings
from mmgpt.syphus.stages.filter import KEPT
from mmgpt.syphus.state import State


def summary(state: State, settings: Settings, endpoint: Endpoint) -> dict[str, Any]:
    """The figures of a run.

    ``requests``, ``cached`` and ``faults`` are those of this call of the tool, ``tokens`` and ``cost`` those of all
    replies in the cache. Of the requests on items, ``asked`` = ``answered`` + ``rejected`` + ``failed`` + ``waiting``.
    """
    outcomes = state.tally(
        'SELECT outcome, count(*) FROM asks a WHERE attempt = (SELECT max(attempt) FROM asks b WHERE b.n = a.n AND '
        'b.part = a.part) GROUP BY 1'
    )
    answered, rejected, failed = (outcomes.get(name, 0) for name in ('parsed', 'rejected', 'failed'))
    verdicts = state.tally('SELECT verdict, count(*) FROM pairs WHERE verdict IS NOT NULL GROUP BY 1')
    items = state.count('items')
    asked = items * len(settings.task.parts)
    usage, totals = endpoint.usage, endpoint.cache.totals()
    return {
        'items': items,
        'requests': usage.requests,
        'cached': usage.cached,
        'kept': verdicts.pop(KEPT, 0),
        'dropped': {type(one).__name__: 0 for one in settings.filters} | verdicts,
        'failed': failed,
        'tokens': totals.prompt_tokens + totals.completion_tokens,
        'cost': round(totals.cost, 6),
        'asked': asked,
        'answered': answered,
        'rejected': rejected,
        'waiting': asked - answered - rejected - failed,
        'asked_again': state.count('asks', 'attempt > 0'),
        'fragments': state.count('fragments'),
        'pairs': state.count('pairs'),
        'translations': state.tally(
            'SELECT language, count(*) FROM translations WHERE verdict = ? GROUP BY 1', (KEPT,)
        ),
        'translations_failed': state.count('translations', "verdict = 'failed'"),
        'replies': totals.replies,
        'prompt_tokens': totals.prompt_tokens,
        'completion_tokens': totals.completion_tokens,
        'faults': dict(usage.faults),
    }
