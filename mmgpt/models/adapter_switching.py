"""Adapters of a loaded model, put on and switched at run time with the methods that transformers' models have."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel


class Switchable(PreTrainedModel):
    """transformers' methods for adapters, which also work on those of the model's own config, and with our checks.

    ``add_adapter``, ``get_adapter_state_dict`` and hot-swapping are transformers' own.

    Example::

        model.load_adapter('work_dirs/birds/adapter', 'birds')
        model.load_adapter('work_dirs/maps/adapter', 'maps')
        model.set_adapter('birds')
        model.disable_adapters()    # the base
        model.enable_adapters()
    """

    def load_adapter(
        self, peft_model_id: str | Path | None = None, adapter_name: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Puts an adapter on the model and makes it the active one.

        Args:
            peft_model_id: a folder in peft's layout, or a hub id.
            adapter_name: its name in the model. Default: ``'default'``.
            args, kwargs: as transformers' own method takes them; ``is_trainable=True`` trains it further.

        Raises:
            OSError: there is no such adapter.
            ValueError: it belongs to another base, or the name is taken. The model is as it was.
        """
        if peft_model_id is None or args or kwargs.keys() - {'is_trainable', 'revision'}:
            return super().load_adapter(peft_model_id, adapter_name, *args, **kwargs)
        from mmgpt.models.adapter_files import load_adapter  # here, since peft is slow to import

        folder = Path(peft_model_id)
        if not folder.is_dir() and not folder.is_absolute() and str(peft_model_id).count('/') == 1:
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(str(peft_model_id), revision=kwargs.get('revision')))
        return load_adapter(self, folder, adapter_name or 'default', kwargs.get('is_trainable', False))

    def set_adapter(self, adapter_name: str | Sequence[str]) -> None:
        """Computes with this adapter, or the sum of several, and no other.

        Raises:
            ValueError: the model has no adapter of that name; the message lists those that it has.
        """
        names = [adapter_name] if isinstance(adapter_name, str) else list(adapter_name)
        known = list(self._adapters())
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f'; did you mean {close[0]!r}?' if close else ''
                raise ValueError(f'the model has no adapter named {name!r}{hint} It has: {", ".join(known)}')
        for layer in self._layers():
            layer.set_adapter(names)

    def disable_adapters(self) -> None:
        """Computes as the base does, until ``enable_adapters``."""
        self._adapters()
        for layer in self._layers():
            layer.enable_adapters(False)

    def enable_adapters(self) -> None:
        """Computes with the adapters that were set last."""
        self._adapters()
        for layer in self._layers():
            layer.enable_adapters(True)

    def active_adapters(self) -> list[str]:
        """The names of the adapters that the model computes with; none where they are disabled."""
        from mmgpt.models.adapter_files import active_adapters

        self._adapters()
        return active_adapters(self)

    def delete_adapter(self, adapter_names: str | Sequence[str]) -> None:
        """Takes adapters out of the model; without any left it is the plain model again.

        Raises:
            ValueError: the model has no adapter of that name.
        """
        from mmgpt.models.adapters import drop_adapter

        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        if unknown := sorted(set(names) - self._adapters().keys()):
            raise ValueError(f'the model has no adapter named {unknown[0]!r}. It has: {", ".join(self._adapters())}')
        for name in names:
            drop_adapter(self, name)

    def _adapters(self) -> dict[str, Any]:
        if not (found := getattr(self, 'peft_config', {})):
            raise ValueError('the model has no adapter: put one on it with load_adapter(folder, name)')
        return found

    def _layers(self) -> list[Any]:
        from mmgpt.models.adapters import adapted_layers

        return [layer for _, layer in adapted_layers(self)]
