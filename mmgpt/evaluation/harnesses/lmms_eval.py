"""A model of ours for lmms-eval, registered through its entry points (``lmms_eval.models``)::

python -m lmms_eval --model mmgpt --model_args pretrained=work_dirs/otter_demo/hf --tasks mme --batch_size 1
"""

from __future__ import annotations

from typing import Any

from PIL import Image

from mmgpt.evaluation.harnesses.asking import Asking
from mmgpt.hub.pictures import open_video

try:
    from lmms_eval.api.model import lmms
except ImportError as error:
    raise ImportError(f'lmms-eval cannot be imported ({error}): pip install lmms-eval') from error


class MMGPT(lmms):
    """Answers lmms-eval's requests.

    Args:
        pretrained: a model folder, as :func:`mmgpt.evaluation.models.load_evaluated` takes it.
        device, dtype: as there.
        batch_size: must be 1.
        num_frames: of a video.
    """

    def __init__(
        self,
        pretrained: Any,
        device: str | None = None,
        dtype: str = 'auto',
        batch_size: int | str = 1,
        num_frames: int = 16,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        if kwargs:
            raise ValueError(f'unknown model_args: {", ".join(kwargs)}')
        if int(batch_size) != 1:
            raise ValueError(f'batch_size must be 1, got {batch_size}')
        self.asking, self.num_frames = Asking(pretrained, device, dtype), int(num_frames)

    def generate_until(self, requests: list) -> list[str]:
        """See ``lmms``."""
        replies = []
        for context, settings, to_visual, doc_id, task, split in (request.args for request in requests):
            known = {'max_new_tokens': settings.get('max_new_tokens', 512), 'num_beams': settings.get('num_beams') or 1}
            until = settings.get('until') or ()
            until = (until,) if isinstance(until, str) else until
            known['stop'] = tuple(stop for stop in until if stop.strip())
            media = self._media(to_visual, doc_id, task, split)
            replies.append(self.asking.reply(context, media, **known))
        return replies

    def loglikelihood(self, requests: list) -> list[tuple[float, bool]]:
        """See ``lmms``."""
        found = []
        for context, target, to_visual, doc_id, task, split in (request.args for request in requests):
            behind = target if isinstance(target, str) else target(self.task_dict[task][split][doc_id])
            found.append(self.asking.likelihood(context, self._media(to_visual, doc_id, task, split), behind))
        return found

    def generate_until_multi_round(self, requests: list) -> list[str]:
        """See ``lmms``; tasks of several rounds are not supported."""
        raise NotImplementedError('tasks of several rounds are not supported: leave them out of --tasks')

    def _media(self, to_visual: Any, doc_id: Any, task: str, split: str) -> list[list[Any]]:
        visuals = to_visual(self.task_dict[task][split][doc_id]) or []
        return [[one] if isinstance(one, Image.Image) else list(open_video(one, self.num_frames)) for one in visuals]


def manifest() -> Any:
    """What lmms-eval's entry point loads."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest('mmgpt', simple_class_path='mmgpt.evaluation.harnesses.lmms_eval.MMGPT')
