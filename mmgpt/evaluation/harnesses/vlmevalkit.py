"""A model of ours for VLMEvalKit: a script that registers it and starts ``run.py``'s main::

from functools import partial
from vlmeval.config import supported_VLM
from mmgpt.evaluation.harnesses.vlmevalkit import MMGPT

supported_VLM['my_otter'] = partial(MMGPT, model_path='work_dirs/otter_demo/hf')
"""

from __future__ import annotations

from typing import Any

from mmgpt.evaluation.harnesses.asking import Asking
from mmgpt.hub.pictures import open_video

try:
    from vlmeval.vlm.base import BaseModel
except ImportError as error:
    raise ImportError(
        f'VLMEvalKit cannot be imported ({error}): pip install git+https://github.com/open-compass/VLMEvalKit'
    ) from error


class MMGPT(BaseModel):
    """Answers VLMEvalKit's messages. Pictures come before the text, in their order.

    Args:
        model_path: a model folder, as :func:`mmgpt.evaluation.models.load_evaluated` takes it.
        device, dtype: as there.
        settings: of :class:`mmgpt.evaluation.Generation`; default: up to 512 tokens.
    """

    INTERLEAVE = True

    def __init__(self, model_path: Any, device: str | None = None, dtype: str = 'auto', **settings: Any) -> None:
        super().__init__()
        self.asking, self.settings = Asking(model_path, device, dtype), {'max_new_tokens': 512, **settings}

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        """See ``BaseModel``."""
        text = '\n'.join(part['value'] for part in message if part['type'] == 'text')
        media = [
            [part['value']] if part['type'] == 'image' else list(open_video(part['value'], 16))
            for part in message
            if part['type'] != 'text'
        ]
        return self.asking.reply(text, media, **self.settings)
