"""Features of a frozen vision encoder: out of a cache where it has them, else made and given to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmgpt import __version__
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.feature_cache import FeatureCache
from mmgpt.engine.module import evaluating
from mmgpt.engine.state import untouched_rng
from mmgpt.models.vision_encoders.normalisation import encode_frames
from mmgpt.structures import Batch

_PROBES = 8  # frames that an encoder is tried with


class FrozenFeatures:
    """Gives batches the features of their frames.

    A frame is encoded in the first batch that shows it. Which batch that is depends on the stream of batches alone,
    not on how far workers are ahead: what they did not find is asked for again before it is encoded. So the last bits
    of features, which can depend on what is encoded beside them, are the same in a run that is resumed.

    Args:
        encoder: frozen, on its device.
        settings: that built it, as JSON: with its weights they are what the cache knows it by.
        dataset: whose frames it sees; ``dataset.features`` is set.
        folder, max_size: of the cache, see :class:`~mmgpt.data.feature_cache.FeatureCache`.
        dtype: of what is kept. None: that in which the encoder gives it. Features are rounded to it also where they
            are used at once, so that it makes no difference whether they were kept.
        precision: the context that the encoder runs in.

    Raises:
        ValueError: what the encoder gives is not the same each time.
    """

    def __init__(
        self,
        encoder: nn.Module,
        settings: Mapping[str, Any],
        dataset: InstructionDataset,
        folder: str | Path,
        max_size: int | str = '20GiB',
        dtype: Literal['float32', 'bfloat16', 'float16'] | None = None,
        precision: Callable[[], AbstractContextManager] = torch.no_grad,
    ) -> None:
        require_cacheable(encoder, dataset)
        self.encoder, self.precision = encoder, precision
        self.device = next(encoder.parameters()).device
        self.asked = self.encoded = 0  # frames so far
        size = dataset.prompter.image_transform.size
        features = self._probe(size)
        with precision():
            autocast = torch.is_autocast_enabled(self.device.type)
            precise = str(torch.get_autocast_dtype(self.device.type)) if autocast else 'as the weights'
        identity = {
            'mmgpt': __version__,  # pictures may be decoded in another way
            'encoder': dict(settings),
            'weights': state_digest(encoder),
            'precision': precise,
            'image_transform': dataset.prompter.image_transform.to_dict(),
        }
        kept = features.dtype if dtype is None else getattr(torch, dtype)
        self.cache = FeatureCache(folder, identity, tuple(features.shape[1:]), kept, max_size)
        dataset.features = self.cache

    def complete(self, batch: Batch) -> None:
        """Puts ``vision_features`` of all frames in the place of ``frames``, on the encoder's device."""
        cached = batch.get('vision_features')
        self.asked += 0 if cached is None else len(cached)
        if 'frames' not in batch:
            return
        frames, digests = batch.pop('frames'), batch.pop('frame_digests')
        # since the worker asked, other batches were encoded; and two pictures may have one content
        found = {digest: self.cache.get(digest) for digest in dict.fromkeys(digests)}
        if new := [digest for digest, known in found.items() if known is None]:
            made = self._encode(frames[[digests.index(digest) for digest in new]]).to(self.cache.dtype)
            self.cache.put(new, made)
            found |= zip(new, made)
        features = torch.stack([found[digest].to(self.device) for digest in digests])
        self.asked, self.encoded = self.asked + len(digests), self.encoded + len(new)
        batch['vision_features'] = features if cached is None else torch.cat([cached.to(self.device), features])

    def _encode(self, frames: Tensor) -> Tensor:
        with torch.no_grad(), self.precision():
            return encode_frames(self.encoder, frames.to(self.device, non_blocking=True))

    def _probe(self, size: int) -> Tensor:
        """The features of some noise, the same in training as in evaluation."""
        chance = torch.Generator().manual_seed(0)
        noise = torch.randint(256, (_PROBES, 3, size, size), generator=chance, dtype=torch.uint8)
        buffers = {buffer: buffer.clone() for buffer in self.encoder.buffers()}
        try:
            with untouched_rng(), evaluating(self.encoder):
                expected = self._encode(noise)
                self.encoder.train()
                given = self._encode(noise)
        finally:
            for buffer, value in buffers.items():
                buffer.copy_(value)
        # in bfloat16, layers compiled for one of both modes round otherwise; what is looked for changes far more
        if not (given - expected).abs().max() <= 2e-2 * expected.abs().max():
            raise ValueError(
                'features of this vision encoder cannot be kept: it gives other ones in training than in evaluation '
                '(dropout, batch normalisation): switch that off in its config, or leave feature_cache out'
            )
        return expected


def require_cacheable(encoder: nn.Module, dataset: InstructionDataset) -> None:
    """Refuses what makes the features of a picture change from one time to the next.

    Raises:
        ValueError: the encoder is trained or draws at random, or pictures are augmented.
    """
    without = 'or leave feature_cache out'
    if trained := [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]:
        raise ValueError(
            f'features of a vision encoder that is trained cannot be kept ({len(trained)} parameters, {trained[0]} …): '
            f'freeze it by model.trainable, {without}'
        )
    for name, module in encoder.named_modules():
        share = module.p if isinstance(module, nn.modules.dropout._DropoutNd) else getattr(module, 'drop_prob', 0.0)
        if share:
            raise ValueError(
                f'features of a vision encoder with dropout cannot be kept ({name or type(module).__name__} drops '
                f'{share:g}): set it to 0 in model.vision_encoder, {without}'
            )
    if augmented := [entry.source.name for entry in dataset.entries if entry.augment]:
        raise ValueError(
            f'features of pictures that are augmented at random cannot be kept (augment of {", ".join(augmented)}): '
            f'remove augment, {without}'
        )


def state_digest(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers, with their names, shapes and dtypes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
