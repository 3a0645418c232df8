"""A module whose processes run the same layers, so that the exchanges between those that share a model match."""

from __future__ import annotations

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce
from torch import Tensor

from mmgpt.engine.module import TrainedModule
from mmgpt.models.loss import LossSums
from mmgpt.structures import Batch


class JoinedModule(TrainedModule):
    """A trained module that runs what any process runs in this step."""

    @property
    def device(self) -> torch.device:
        """Where it computes; its parameters may stay in the host's memory between their uses."""
        return torch.device(get_device())

    def forward(self, batch: Batch) -> LossSums:
        """The loss, as of ``TrainedModule``; collective."""
        return super().forward(with_blank_media(batch))


def with_blank_media(batch: Batch) -> Batch:
    """The batch, with a blank frame for the vision encoder and a blank medium for the resampler where only the
    batches of other processes have some; collective.

    No token sees the blank medium: the loss stays what it is, and what is only run for its sake gets zeros as
    gradient. Where no process has media, none runs them.

    Args:
        batch: of this process, on the model's device.
    """
    size = torch.zeros(5, dtype=torch.int64, device=batch['input_ids'].device)
    places = batch.get('media_frames')
    own = places is not None and bool((places >= 0).any())
    if own:
        size[0] = 1
        for name, at in (('frames', 1), ('vision_features', 3)):
            if name in batch:
                size[at : at + 2] = torch.tensor(batch[name].shape[-2:])
    all_reduce(size, op='max')
    anyone, height, width, patches, channels = size.tolist()
    if not anyone:
        return batch
    added: Batch = {}
    if height and not (own and 'frames' in batch):
        added['frames'] = size.new_zeros(1, 3, height, width, dtype=torch.uint8)
    elif not height and not own:
        added['vision_features'] = torch.zeros(1, patches, channels, device=size.device)
    if not own:
        added['media_frames'] = _nowhere(batch['input_ids'])
        added['blank_media'] = True
    return {**batch, **added}


def _nowhere(input_ids: Tensor) -> Tensor:
    """(R, 1, 1): the only frame, as a medium of the first row."""
    places = torch.full((len(input_ids), 1, 1), -1, device=input_ids.device)
    places[0] = 0
    return places
