"""The model card of a run: ``README.md`` of an exported folder, filled from the config, the model and its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from torch import Tensor

OPEN_CLIP = 'hf-hub:'  # before a hub id whose weights are in open_clip's form
NOT_FIGURES = ('baselines', 'counts', 'intervals', 'seed', 'train_seconds', 'config')
USE = """```python
import mmgpt  # registers the Auto classes
from transformers import AutoModelForImageTextToText, AutoProcessor

model, processor = AutoModelForImageTextToText.from_pretrained(FOLDER), AutoProcessor.from_pretrained(FOLDER)
content = [{'type': 'image', 'image': 'picture.jpg'}, {'type': 'text', 'text': 'What is this?'}]
inputs = processor.apply_chat_template(
    [{'role': 'user', 'content': content}], add_generation_prompt=True, tokenize=True, return_dict=True
)
output = model.generate(**inputs, max_new_tokens=64)
print(processor.decode(output[0, inputs['input_ids'].shape[1]:], skip_special_tokens=True))
```"""


@dataclass(frozen=True)
class CardFields:
    """What a card says that no config or model knows: the config's ``export``.

    Args:
        name: of the model. Default: that of the work folder.
        license: of the model, as the hub names it (``'cc-by-nc-4.0'``): it follows from those of the weights and data.
        language: codes of the languages it was trained on, ``'en'`` or several.
        datasets: ids on the hub of what it was trained on.
        tags: further ones.
        description: a paragraph for the top of the card.
        max_shard_size: of a weight file of the exported folder, ``'5GB'``; the card does not say it.
    """

    name: str | None = None
    license: str | None = None
    language: str | Sequence[str] | None = None
    datasets: str | Sequence[str] | None = None
    tags: Sequence[str] = ()
    description: str | None = None
    max_shard_size: str = '5GB'


@dataclass(frozen=True)
class Run:
    """What a card tells of a run.

    Args:
        config: the whole config as a dict.
        work_dir: of the run.
        iterations, seconds: of training.
        processes: that trained.
        metrics: what the evaluation gave, figures in nested dicts or the ``rows`` of an ``Evaluation``; empty: there
            was none.
    """

    config: Mapping[str, Any]
    work_dir: str
    iterations: int
    seconds: float
    processes: int = 1
    metrics: Mapping[str, Any] = field(default_factory=dict)


def model_card(model: Any, run: Run) -> str:
    """The text of the card, with the metadata that the hub reads on its top.

    Args:
        model: a ``Flamingo``.
        run: how it was trained.
    """
    fields = CardFields(**(run.config.get('export') or {}))
    name = fields.name or Path(run.work_dir).name
    sources = [source for _, source, _ in _parts(model, run.config) if source and _is_on_the_hub(source)]
    bases = list(dict.fromkeys(source.removeprefix(OPEN_CLIP) for source in sources))  # the hub takes bare ids
    of_task = 'rows' in run.metrics  # an ``Evaluation``, whose figures stand in rows by the number of shots
    figures = dict(_main_figures(run.metrics) if of_task else _figures(run.metrics))
    task = run.metrics['task'] if of_task else (run.config.get('evaluation') or {}).get('type')
    kind = run.metrics['main'] if of_task else 'accuracy'
    metadata = ModelCardData(
        model_name=name,
        license=fields.license,
        language=_listed(fields.language),
        datasets=_listed(fields.datasets),
        base_model=bases or None,
        pipeline_tag='image-text-to-text',
        library_name='transformers',
        tags=['mmgpt', 'flamingo', *fields.tags],
        eval_results=[
            EvalResult('image-text-to-text', str(task), str(task), kind, value, metric_name=figure)
            for figure, value in figures.items()
        ]
        or None,
    )
    sections = [
        f'# {name}',
        fields.description or 'A Flamingo-type vision-language model, trained with mmgpt.',
        '## Parts\n' + _table(('part', 'parameters', 'trained', 'weights from'), _part_rows(model, run.config)),
        '## Data\n' + _table(('source', 'files', 'weight'), _source_rows(run.config)),
        '## Training\n' + _table(('', ''), _training_rows(run)),
        '## Figures\n' + (_table((task, ''), figures.items()) if figures else 'Not evaluated.'),
        '## Use\n' + USE.replace('FOLDER', repr(name)),
        '## Licence\n' + _licence(fields, bases),
    ]
    return f'---\n{metadata.to_yaml()}\n---\n\n' + '\n\n'.join(sections) + '\n'


def _parts(model: Any, config: Mapping[str, Any]) -> Iterator[tuple[str, str | None, str | None]]:
    """Each part with the path and revision that its weights came from."""
    named = {'vision_encoder': 'vision_encoder', 'language_model': 'language_decoder'}
    for part, _ in model.named_children():
        weights = (config.get('model') or {}).get(named.get(part, part)) or {}
        if part in ('vision_encoder', 'language_model', 'resampler', 'gated_blocks'):
            found = weights if isinstance(weights, Mapping) else {}
            yield part, config.get('load_from') or found.get('weights'), found.get('revision')


def _size(parameter: Tensor) -> int:
    """Elements of a parameter, of one that DeepSpeed has taken apart those of the whole."""
    return getattr(parameter, 'ds_numel', parameter.numel())


def _part_rows(model: Any, config: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    for part, source, revision in _parts(model, config):
        parameters = list(getattr(model, part).parameters())
        count = sum(map(_size, parameters))
        trained = sum(_size(parameter) for parameter in parameters if parameter.requires_grad)
        shown = '' if source is None else source if _is_on_the_hub(source) else Path(source).name
        yield part, f'{count:,}', f'{trained:,}', f'{shown} {revision or ""}'.strip()


def _source_rows(config: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    dataset = (config.get('train_dataloader') or {}).get('dataset') or {}
    for source in dataset.get('sources') or ():
        named = [value for key, value in source.items() if key not in ('type', 'weight') and isinstance(value, str)]
        files = ', '.join(Path(value).name for value in named if '.' in Path(value).name or '/' in value)
        count = source.get('num_samples')
        yield source.get('type'), files, source.get('weight', 1.0) if count is None else f'{count} samples'


def _training_rows(run: Run) -> Iterator[tuple[str, Any]]:
    loader, wrapper = run.config.get('train_dataloader') or {}, run.config.get('optim_wrapper') or {}
    optimizer, counts = wrapper.get('optimizer') or {}, wrapper.get('accumulative_counts', 1)
    yield 'steps', f'{run.iterations // counts:,}'
    if loader.get('batch_size'):
        yield 'samples per step', loader['batch_size'] * counts * run.processes
    yield 'optimiser', f'{optimizer.get("type")}, learning rate {optimizer.get("lr")}'
    yield 'precision', wrapper.get('precision', 'fp32')
    yield 'template', (run.config.get('template') or {}).get('type')
    yield 'seed', (run.config.get('randomness') or {}).get('seed', 0)
    yield 'time', f'{run.seconds:,.0f} s on {run.processes} process(es)'


def _figures(metrics: Mapping[str, Any], above: str = '') -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if key in NOT_FIGURES:
            continue
        if isinstance(value, Mapping):
            yield from _figures(value, f'{above}{key}, ')
        elif isinstance(value, int | float):
            yield f'{above}{key}', round(float(value), 4)


def _main_figures(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for row in metrics['rows']:
        if row['trials']:
            yield f'{metrics["main"]}, {row["shots"]} shots', round(float(row['mean']), 4)


def _licence(fields: CardFields, bases: Sequence[str]) -> str:
    if fields.license:
        return f'{fields.license}. The licences of the weights and data that it was made from hold beside it.'
    made_from = f' of {", ".join(bases)} and' if bases else ''
    return f'Not stated. It follows from the licences{made_from} of the data: set `export.license` in the config.'


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n' + '\n'.join('| ' + ' | '.join(str(cell) for cell in line) + ' |' for line in lines)


def _listed(value: str | Sequence[str] | None) -> list[str] | None:
    return None if value is None else [value] if isinstance(value, str) else list(value)


def _is_on_the_hub(source: str) -> bool:
    name = source.removeprefix(OPEN_CLIP)
    return name.count('/') == 1 and not name.startswith(('/', '.', '~')) and not Path(source).exists()
