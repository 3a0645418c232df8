"""Pictures with captions and boxes, and the question sets on memes and funny videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmgpt.registry import SYPHUS_TASKS
from mmgpt.syphus.items import Item
from mmgpt.syphus.tasks.base import Relate, Task, as_text
from mmgpt.syphus.tasks.scenes import described

Kind = Literal['conversation', 'detail', 'reasoning']
FILES: dict[str, str] = {'conversation': 'CONV', 'detail': 'DD', 'reasoning': 'CR'}
RELATIONS: dict[str, Relate] = {'conversation': 'earlier', 'detail': 'none', 'reasoning': 'none'}


@SYPHUS_TASKS.register_module()
class CaptionsAndBoxes(Task):
    """Conversation, detailed description and reasoning on a picture (LLaVA, arXiv 2304.08485 section 3; MIMIC-IT's LA).

    The annotation is ``{"captions": [text, ...], "objects": [{"name", "box": [x, y, w, h]}, ...]}``, or a text. Each
    kind is asked for on its own and makes files of its own: ``LACONV``, whose rounds have the earlier ones as context,
    ``LADD`` and ``LACR``.

    Args:
        kinds: what to ask for.
        name: the beginning of the files' names.
    """

    name = 'LA'
    prompts = {'conversation': 'conversation', 'detail': 'detail', 'reasoning': 'reasoning'}

    def __init__(
        self,
        kinds: Sequence[Kind] = ('conversation', 'detail', 'reasoning'),
        name: str | None = None,
        prompt: dict[str, str] | None = None,
        pairs: int = 3,
    ) -> None:
        if not kinds or set(kinds) - set(FILES):
            raise ValueError(f'kinds must be some of {list(FILES)}, got {list(kinds)}')
        self.kinds = tuple(kinds)
        super().__init__(name, prompt, pairs)

    @property
    def parts(self) -> Sequence[str]:
        """See :meth:`Task.parts`."""
        return self.kinds

    def query(self, item: Item, part: str = '') -> str:
        """See :meth:`Task.query`."""
        if isinstance(item.annotation, dict):
            return described(item.annotation, item, self)
        return as_text(item.annotation)

    def file_name(self, part: str) -> str:
        """See :meth:`Task.file_name`."""
        return f'{self.subset}{FILES[part]}'

    def relation(self, part: str) -> Relate:
        """See :meth:`Task.relation`."""
        return RELATIONS[part]


@SYPHUS_TASKS.register_module()
class QuestionSet(Task):
    """Questions of set kinds about what is funny: memes, or funny videos (FunQA).

    Args:
        about: 'meme' (what is seen, what is meant, why it is funny) or 'funny_video' (when, what, why, a title).
    """

    name = 'FUN'
    prompts = {'meme': 'memes', 'funny_video': 'funny_video'}
    capability = 'reasoning'

    def __init__(
        self,
        about: Literal['meme', 'funny_video'] = 'meme',
        name: str | None = None,
        prompt: dict[str, str] | None = None,
        pairs: int = 4,
    ) -> None:
        if about not in self.prompts:
            raise ValueError(f'about must be one of {list(self.prompts)}, got {about!r}')
        self.about = about
        super().__init__(name or {'meme': 'MEME', 'funny_video': 'FunQA'}[about], prompt, pairs)

    @property
    def parts(self) -> Sequence[str]:
        """See :meth:`Task.parts`."""
        return (self.about,)
