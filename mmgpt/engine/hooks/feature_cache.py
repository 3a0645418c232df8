"""Frozen vision features, encoded once and kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmengine.hooks import Hook

from mmgpt.data.feature_cache import parse_size
from mmgpt.engine.frozen_features import FrozenFeatures
from mmgpt.registry import HOOKS
from mmgpt.structures import Batch


@HOOKS.register_module()
class FeatureCacheHook(Hook):
    """Keeps what the frozen vision encoder makes of each frame, and looks it up: ``feature_cache`` of a config.

    Workers do not decode a picture whose features are kept; the others are encoded before the step. Once the cache is
    full it stays as it is.

    Args:
        folder: of the cache, on a local disk; it may be shared by runs.
        max_size: of the folder, in bytes or as ``'20GiB'``.
        dtype: of what is kept: 'float32', 'bfloat16' or 'float16'. None: as the encoder gives them.

    Raises:
        ValueError: of a run whose features cannot be kept: encoder trained or with dropout, pictures augmented.
    """

    priority = 'VERY_HIGH'  # others see the features

    def __init__(
        self,
        folder: str | Path,
        max_size: int | str = '20GiB',
        dtype: Literal['float32', 'bfloat16', 'float16'] | None = None,
    ):
        if parse_size(max_size) < 1:
            raise ValueError(f'max_size must be more than 0 bytes, got {max_size!r}')
        if dtype not in ('float32', 'bfloat16', 'float16', None):
            raise ValueError(f"dtype must be 'float32', 'bfloat16', 'float16' or None, got {dtype!r}")
        self.folder, self.max_size, self.dtype = folder, max_size, dtype
        self.features: FrozenFeatures | None = None
        self._told = False

    def before_train(self, runner) -> None:
        """Open the cache of the encoder as it is loaded."""
        model = runner.bare_model
        self.features = FrozenFeatures(
            model.vision_encoder,
            model.config.vision_encoder,
            runner.train_loop.dataloader.dataset,
            self.folder,
            self.max_size,
            self.dtype,
            lambda: runner.optim_wrapper.optim_context(runner.model),
        )
        runner.logger.info(f'{self.features.cache.folder} holds the features of {len(self.features.cache)} frames')

    def before_train_iter(self, runner, batch_idx: int, data_batch: Batch | None = None) -> None:
        """Features instead of frames."""
        self.features.complete(data_batch)
        if self.features.cache.full and not self._told:
            self._told = True
            runner.logger.warning(f'no more features are kept, those that are stay in use: {self.features.cache.full}')

    def after_train(self, runner) -> None:
        """Say what it was good for."""
        asked, encoded = self.features.asked, self.features.encoded
        runner.logger.info(f'{asked - encoded} of {asked} frames came out of the feature cache')
