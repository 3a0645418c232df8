"""How the composed model comes from a folder."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import GenerationConfig, PreTrainedModel

from mmgpt.models.misfits import misfits, shown
from mmgpt.models.sources import Source, find_sources, read_references, referenced_state, stored_state

SHARDS = Path('training') / 'shards'  # where a checkpoint holds its tensors in parts (``mmgpt.engine.shards_on_disk``)


class LoadedStrictly(PreTrainedModel):
    """Hugging Face's ``from_pretrained``, but strict, and with towers that a checkpoint only names.

    Attributes:
        sources: part -> where its weights came from, for the parts that were loaded by themselves.
    """

    sources: dict[str, Source] = {}

    @classmethod
    def from_pretrained(
        cls,
        name: Any,
        *args: Any,
        output_loading_info: bool = False,
        sources: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Loads a folder that training or ``save_pretrained`` wrote, or a model of the hub.

        Args:
            name: the folder or hub id.
            args: as Hugging Face takes them.
            output_loading_info: also return Hugging Face's notes on the loading.
            sources: for a checkpoint that refers to towers which have moved: ``'language_model'`` or
                ``'vision_encoder'`` -> folder or hub id.
            kwargs: as Hugging Face takes them: ``dtype``, ``device_map``, ``quantization_config``, …

        Raises:
            ValueError: weights are missing, unexpected or of another shape; the message lists them. Or they are in
                shards.
            OSError: the files of the weights are damaged.
            SourceError: a tower that a checkpoint refers to is not there, or has changed.
        """
        load = partial(super().from_pretrained, ignore_mismatched_sizes=True)  # they are told below, with all others
        kwargs.pop('ignore_mismatched_sizes', None)
        if name is not None and (Path(name) / SHARDS).is_dir():
            raise ValueError(
                f'{name} is a checkpoint in shards; make a model folder of it: '
                f'python tools/convert.py consolidate {name} --out DIR'
            )
        if name is not None and read_references(name):
            where = find_sources(name, {part: Source(path) for part, path in (sources or {}).items()})
            kwargs = {'config': cls.config_class.from_pretrained(name), **kwargs}
            state = stored_state(name) | referenced_state(name, kwargs['config'], where)
            model, info = load(None, *args, state_dict=state, output_loading_info=True, **kwargs)
            model.sources = where
            model.config.name_or_path = model.name_or_path = str(name)
            if (Path(name) / 'generation_config.json').is_file():
                model.generation_config = GenerationConfig.from_pretrained(name)
        else:
            try:
                model, info = load(name, *args, output_loading_info=True, **kwargs)
            except pickle.UnpicklingError:
                raise OSError(
                    f'the weights in {name} were refused, and nothing in them was run: they hold more than tensors, or '
                    'are damaged'
                ) from None
            except SafetensorError as error:
                raise OSError(f'the weights in {name} are damaged (cut, or pointers of git-lfs): {error}') from error
        if faults := misfits(info['missing_keys'], info['unexpected_keys'], sorted(info['mismatched_keys'])):
            raise ValueError(f'the weights in {name} are not those of its config:{shown(faults)}')
        return (model, info) if output_loading_info else model
