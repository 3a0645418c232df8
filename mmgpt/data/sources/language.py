"""Instructions without pictures: Dolly, Alpaca and Baize."""

from __future__ import annotations

import numpy as np

from mmgpt.data.sources.records import Record, Records, dialogue
from mmgpt.registry import SOURCES
from mmgpt.structures import Turn


@SOURCES.register_module()
class Dolly(Records):
    """``databricks-dolly-15k.jsonl``: lines of ``instruction``, ``context`` (may be empty) and ``response``.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    lines = True

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The context is the instruction's input."""
        question = Turn('user', record.text('instruction'), input=record.text('context', ''))
        return question, Turn('assistant', record.text('response'))


@SOURCES.register_module()
class Alpaca(Records):
    """Alpaca and Alpaca-GPT4 (arXiv 2304.03277): a list of ``instruction``, ``input`` (may be empty) and ``output``.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The input is the instruction's."""
        question = Turn('user', record.text('instruction'), input=record.text('input', ''))
        return question, Turn('assistant', record.text('output'))


HUMAN, MACHINE = '[|Human|] ', '[|AI|] '


@SOURCES.register_module()
class Baize(Records):
    """Baize's dialogues (arXiv 2304.01196): a list of ``input``, one text of ``[|Human|] …`` and ``[|AI|] …`` in turn.

    What stands before the first ``[|Human|]`` and a last turn of the human that has no reply are left out; line breaks
    are deleted.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """All rounds of the dialogue."""
        text = record.text('input')
        if text.endswith(HUMAN.rstrip()):
            text += ' '  # the end of the file's text may have been stripped
        rounds = [part.split(MACHINE) for part in text.split(HUMAN)[1:]]
        if rounds and len(rounds[-1]) == 1:
            rounds.pop()  # nobody replied to it; mostly it is empty
        if not rounds or any(len(parts) != 2 for parts in rounds):
            got = [len(parts) - 1 for parts in rounds]
            record.fail('input', f'a dialogue with one {MACHINE!r} after each {HUMAN!r} (there are {got})')
        return dialogue([tuple(part.replace('\n', '') for part in parts) for parts in rounds])
