"""LLaVA's instructions (arXiv 2304.08485): one question about a picture, or a dialogue about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.sources.records import Record, Records, dialogue
from mmgpt.registry import SOURCES
from mmgpt.structures import Medium, Turn

ROLES = ('human', 'gpt')


@SOURCES.register_module()
class Llava(Records):
    """A list of ``id``, ``image`` and ``conversations``, in which ``human`` and ``gpt`` take turns.

    The picture stands before the first question; ``<image>`` and line breaks are deleted from questions. A record
    without ``image`` is text only.

    Args:
        annotations, images, sample, sample_seed, name: as of :class:`~mmgpt.data.sources.records.Records`; the
            pictures' keys are the values of ``image``.
        dialogue: all rounds; False = the first question and answer only.
    """

    id_field = 'id'

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        dialogue: bool = False,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        super().__init__(annotations, images, sample, sample_seed, name)
        self.dialogue = dialogue

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The first round, or all: messages 2k and 2k + 1 belong together."""
        messages = record.records('conversations', at_least=2)
        messages = messages if self.dialogue else messages[:2]
        roles = [message.text('from') for message in messages]
        if len(roles) % 2 or any(role != ROLES[place % 2] for place, role in enumerate(roles)):
            record.fail('conversations', f'"human" and "gpt" in turn, ending with "gpt" (it has {roles[:8]})')
        texts = [message.text('value') for message in messages]
        questions = [text.replace('<image>', '').replace('\n', '') for text in texts[0::2]]
        pairs = list(zip(questions, texts[1::2], strict=True))
        has_picture = self.images is not None and record.get('image') is not None
        media = (Medium((record.text('image'),)),) if has_picture else ()
        return dialogue(pairs, media)
