"""Otter's training-data files: YAML that groups MIMIC-IT sets by how their pictures are shown."""

from __future__ import annotations

import difflib
import math
import os
import random
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from mmgpt.registry import SOURCES

GROUPS: dict[str, dict[str, Any]] = {  # what a group's sets have in common
    'IMAGE_TEXT': {'marks': 'first'},
    'TEXT_ONLY': {},
    'VIDEO_TEXT': {'marks': 'first', 'kind': 'video'},
    'IMAGE_TEXT_IN_CONTEXT': {'marks': 'every'},
}
KEYS = {'mimicit_path': str, 'images_path': str, 'train_config_path': str, 'num_samples': int, 'task_description': list}
MOST_NODES = 1_000_000  # that a training-data file may stand for


@SOURCES.register_module(name='TrainingData')
def read_training_data(
    path: str | Path,
    related: bool = False,
    task_descriptions: bool = False,
    max_frames: int = 32,
) -> list[dict[str, Any]]:
    """The sources of a training-data file, as the configs of a ``train_dataloader``.

    ::

        IMAGE_TEXT:                 # or TEXT_ONLY, VIDEO_TEXT, IMAGE_TEXT_IN_CONTEXT
          LADD:                     # any name
            mimicit_path: data/LADD_instructions.json
            images_path: data/LA.parquet                      # not with TEXT_ONLY
            train_config_path: data/LADD_train.json           # optional: the ids to train on, and their contexts
            num_samples: -1                                   # optional: see MimicIt's resample
            task_description: ["Describe the picture at length."]   # optional

    Among the sources of a config, ``dict(type='TrainingData', path='data.yaml')`` stands for all of them.

    In a group IN_CONTEXT every example shows its own pictures, in the others those of the query stand before the first.
    All sources are mixed sample by sample, each as often as it has samples; the published loader drew whole batches
    from one group in the same proportion.

    Args:
        path: the YAML file; paths in it are relative to the working directory.
        related: a set without ``train_config_path`` takes the ``rel_ins_ids`` of its instructions as contexts, as with
            the published ``--populate_rel_ins``; else it has none.
        task_descriptions: a random one stands in front of a sample, as with ``--with_task_description``.
        max_frames: of a video (``--resample_frames``).

    Raises:
        FileNotFoundError: the file, or any that it names, is not there; the message names all of them.
        ValueError: the file is not of this form.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such training-data file')
    groups = _load(path)
    if not isinstance(groups, Mapping) or not groups:
        raise ValueError(f'{path}: expected groups of sets ({", ".join(GROUPS)}), got {groups!r:.80}')
    sources = []
    for group, sets in groups.items():
        _known(group, GROUPS, f'{path}: group')
        if not isinstance(sets, Mapping) or not sets:
            raise ValueError(f'{path}: {group}: expected sets by name, got {sets!r:.80}')
        for name, entry in sets.items():
            where = f'{path}: {group}: {name}'
            _check(group, entry, where)
            source = _source(name, entry, related, task_descriptions)
            video = {'max_frames': max_frames} if group == 'VIDEO_TEXT' else {}
            sources.append({**source, **GROUPS[group], **video})
    named = {source[key] for source in sources for key in ('instructions', 'images', 'train') if source.get(key)}
    if missing := sorted(name for name in named if not os.path.exists(name)):
        raise FileNotFoundError(f'{path} names what is not there (seen from {Path.cwd()}): {", ".join(missing)}')
    return sources


def resample(length: int, num_samples: int | None) -> list[int] | range:
    """Which of ``length`` samples a set of ``num_samples`` holds, as the published loader chose them.

    Args:
        length: of the set.
        num_samples: fewer are drawn without repetition; more are the whole set as often as it goes in, and the rest
            drawn with repetition; None, 0 and -1 are all. The draw is the same in every run.

    Example:
        >>> [len(resample(10, wanted)) for wanted in (None, -1, 0, 3, 10, 25)]
        [10, 10, 10, 3, 10, 25]
    """
    if num_samples in (None, 0, -1, length) or not length:
        return range(length)
    rng = random.Random(0)
    if num_samples < length:
        return rng.sample(range(length), num_samples)
    return [*range(length)] * (num_samples // length) + rng.choices(range(length), k=num_samples % length)


class _Loader(yaml.SafeLoader):
    """Refuses aliases that stand for more than a file would hold: a few lines of them can stand for billions."""

    def construct_document(self, node: yaml.Node) -> Any:
        if _weight(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f'its aliases (*name) stand for more than {MOST_NODES} values: write them out')
        return super().construct_document(node)


def _weight(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """How many nodes there are below one, and it, where each alias counts as what it stands for."""
    if node not in known:
        known[node] = math.inf  # while it is counted: what holds itself has no end
        pairs = isinstance(node, yaml.MappingNode)
        children = chain.from_iterable(node.value) if pairs else node.value  # or a text
        known[node] = 1 + sum(_weight(child, known) for child in children if isinstance(child, yaml.Node))
    return known[node]


def _load(path: Path) -> Any:
    try:
        return yaml.load(path.read_bytes().decode(), _Loader)
    except RecursionError as error:
        raise ValueError(f'{path}: is nested too deeply') from error
    except (yaml.YAMLError, ValueError) as error:  # also of dates and numbers that are none
        raise ValueError(f'{path}: is no YAML file: {error}') from error


def _source(name: str, entry: Mapping[str, Any], related: bool, task_descriptions: bool) -> dict[str, Any]:
    source = {'type': 'MimicIt', 'name': str(name), 'instructions': entry['mimicit_path']}
    for key, ours in (('images_path', 'images'), ('train_config_path', 'train'), ('num_samples', 'resample')):
        if entry.get(key) is not None:
            source[ours] = entry[key]
    if 'train' in source or related:
        source['retriever'] = {'type': 'RelatedInstructions'}
    if task_descriptions and entry.get('task_description'):
        source['task_descriptions'] = list(entry['task_description'])
    return source


def _check(group: str, entry: Any, where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ValueError(f'{where}: expected mimicit_path and the like, got {entry!r:.80}')
    for key, value in entry.items():
        _known(key, KEYS, f'{where}: key')
        if value is not None and (not isinstance(value, KEYS[key]) or isinstance(value, bool)):
            raise ValueError(f'{where}: {key} should be of type {KEYS[key].__name__}, got {value!r:.80}')
    if not entry.get('mimicit_path'):
        raise ValueError(f'{where}: mimicit_path is missing')
    if entry.get('images_path') and group == 'TEXT_ONLY':
        raise ValueError(f'{where}: a set of TEXT_ONLY has no images_path; is it one of IMAGE_TEXT?')
    if not entry.get('images_path') and group != 'TEXT_ONLY':
        raise ValueError(f'{where}: images_path is missing; without pictures it is a set of TEXT_ONLY')
    if (entry.get('num_samples') or 0) < -1:
        raise ValueError(f'{where}: num_samples should be -1 (all) or a number from 0, got {entry["num_samples"]}')
    if not all(isinstance(text, str) for text in entry.get('task_description') or ()):
        raise ValueError(f'{where}: task_description should be a list of strings')


def _known(name: Any, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
        near = f'did you mean {close[0]!r}?' if close else f'there are {", ".join(known)}'
        raise ValueError(f'{where} {name!r} is not known; {near}')
