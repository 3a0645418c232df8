"""A rehearsal: the whole run of a config in small, on pictures made on the spot, in a minute on a CPU.

The composition is the config's own: the same classes, template, retrievers, trained parameters, optimiser, schedulers
and hooks. What costs memory and time is shrunk, and what has to be fetched is replaced.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine import Config
from mmengine.dist import barrier, is_main_process
from PIL import Image
from torch import Tensor
from transformers import AutoConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mmgpt.data.builder import ENTRY_KEYS
from mmgpt.data.builders import DigitsBuilder
from mmgpt.engine.build import build_runner
from mmgpt.engine.checkpoints import checkpoint_path
from mmgpt.engine.hooks import DEFAULT_HOOKS
from mmgpt.engine.signatures import arguments_of
from mmgpt.engine.strategies.processes import on_main
from mmgpt.engine.tasks import run_task
from mmgpt.engine.weights import read_weights
from mmgpt.hub.io import load_folder
from mmgpt.registry import CROSS_ATTENTIONS, RESAMPLERS, TASKS, VISION_ENCODERS

STEPS, SAVED_AT = 20, 10
WIDTH, HEADS, PICTURE, PATCH = 32, 2, 32, 16
VISION = dict(
    hidden_size=WIDTH,
    intermediate_size=2 * WIDTH,
    num_hidden_layers=2,
    num_attention_heads=HEADS,
    image_size=PICTURE,
    patch_size=PATCH,
)
OPEN_CLIP = dict(
    embed_dim=WIDTH,
    vision_cfg=dict(image_size=PICTURE, layers=2, width=WIDTH, head_width=WIDTH // HEADS, patch_size=PATCH),
)
LANGUAGE = dict(  # whichever of these a family has
    hidden_size=WIDTH,
    intermediate_size=2 * WIDTH,
    ffn_dim=2 * WIDTH,
    word_embed_proj_dim=WIDTH,
    num_attention_heads=HEADS,
    num_key_value_heads=HEADS,
    head_dim=WIDTH // HEADS,
)
BLOCK = dict(depth=1, num_latents=4, heads=HEADS, head_width=WIDTH // HEADS)
HOOKS = {
    'logger': dict(interval=5),
    'progress': dict(interval=STEPS),
    'samples': dict(interval=SAVED_AT, num=1, max_new_tokens=8),
    'checkpoint': dict(interval=SAVED_AT, max_keep_ckpts=2),
}


class RehearsalError(RuntimeError):
    """The rehearsal did not do what the run would have to do."""


def rehearse(cfg: Config) -> None:
    """Trains ``STEPS`` iterations, resumes from the middle, loads what was saved and evaluates it; says what it did.

    Nothing stays behind. Several processes rehearse together.

    Args:
        cfg: a checked config; its weights and data need not be there.

    Raises:
        RehearsalError: the resumed run ends elsewhere than the uninterrupted one.
        ValueError, OSError, KeyError: as the run itself would raise them.
    """
    with _scratch() as folder:
        on_main(DigitsBuilder(folder / 'data', episodes=40, size=20).build)
        small = shrink(cfg, folder / 'data')
        _say(f'rehearsing {Path(cfg.filename or "the config").name} in small: {_changes(cfg, small)}')

        runner = build_runner(_in(small, folder / 'whole'))
        _say(runner.summary)
        runner.train()
        whole = runner.export()
        saved = checkpoint_path(folder / 'whole' / 'checkpoints', SAVED_AT)
        trained = f'trained {STEPS} steps on {runner.world_size} process(es)'
        if saved.exists():
            _say(f'{trained}, saved at {SAVED_AT} and {STEPS}')
            runner = build_runner(_in(small, folder / 'resumed', resume=str(saved)))
            runner.train()
            resumed = runner.export()
            on_main(lambda: _compare(read_weights(whole), read_weights(resumed)))
            _say(f'resumed at step {SAVED_AT}: the weights after step {STEPS} are the same')
        else:
            _say(f'{trained}; its hooks saved nothing at {SAVED_AT}, so nothing is resumed')
        _use(cfg, whole)
    _say('the rehearsal is over: nothing of it was kept')


def shrink(cfg: Config, data: Path) -> Config:
    """A config of the same composition that runs on ``data`` within seconds.

    Args:
        cfg: stays as it is.
        data: a folder of ``DigitsBuilder``.

    Example:
        >>> shrink(load_config('configs/otter_mimicit.py'), Path('data')).train_cfg.max_iters  # doctest: +SKIP
        20
    """
    small = copy.deepcopy(cfg.to_dict())
    for key in ('data_builder', 'load_from', 'resume', 'compile', 'evaluation'):
        small.pop(key, None)
    model = small['model']
    if _shrink_vision(model['vision_encoder']):
        small['image_transform']['size'] = PICTURE
    for part, registry in (('resampler', RESAMPLERS), ('cross_attention', CROSS_ATTENTIONS)):
        if part in model:
            taken, _ = arguments_of(registry.get(model[part]['type']))
            model[part] |= {name: size for name, size in BLOCK.items() if name in taken}
    _shrink_language(model['language_decoder'], model.get('cross_attn_every_n_layers', 1) + 1)
    small['tokenizer'] = {'path': str(data / 'tokenizer')}
    if small.get('feature_cache'):
        small['feature_cache']['folder'] = str(data / 'features')

    for loader in filter(None, (small['train_dataloader'], small.get('val_dataloader'))):
        loader['batch_size'] = min(loader['batch_size'], 4)
        loader['num_workers'] = min(loader.get('num_workers', 0), 1)
        loader['dataset']['sources'] = [_stand_in(source, data) for source in loader['dataset']['sources']]
    wrapper = small['optim_wrapper']
    wrapper['accumulative_counts'] = min(wrapper.get('accumulative_counts', 1), 4)
    small['train_cfg']['max_iters'] = STEPS
    if small.get('val_cfg'):
        small['val_cfg']['interval'] = SAVED_AT
    hooks = small.setdefault('default_hooks', {})
    for name, changes in HOOKS.items():
        hook = hooks.get(name, DEFAULT_HOOKS[name])
        if hook is not None:
            hooks[name] = {**hook, **changes} if hook['type'] == DEFAULT_HOOKS[name]['type'] else hook
    return Config(small, filename=cfg.filename)


def _shrink_vision(encoder: dict[str, Any]) -> bool:
    """Whether the encoder is one whose size can be chosen."""
    for name in ('weights', 'revision'):
        encoder.pop(name, None)
    taken, _ = arguments_of(VISION_ENCODERS.get(encoder['type']))
    if 'config' in taken:
        encoder['config'] = {**(encoder.get('config') or {}), **VISION}
    elif 'architecture' in taken:
        encoder['architecture'] = OPEN_CLIP
    return bool({'config', 'architecture'} & taken.keys())


def _shrink_language(decoder: dict[str, Any], layers: int) -> None:
    """A language model of the same family with few narrow layers, as many as one gated block needs and one more."""
    weights = decoder.pop('weights', None)
    revision = decoder.pop('revision', None)
    decoder.pop('dtype', None)
    config = dict(decoder.get('config') or {})
    if 'model_type' not in config:
        try:
            config['model_type'] = AutoConfig.from_pretrained(weights, revision=revision).model_type
        except (OSError, ValueError) as error:
            raise ValueError(
                f'what {weights!r} is cannot be told without it: write config=dict(model_type=…) beside the weights '
                'of model.language_decoder'
            ) from error
    kind = CONFIG_MAPPING[config['model_type']]
    default = kind()
    for name in ('vocab_size', 'layer_types', 'max_window_layers'):
        config.pop(name, None)  # they follow from the tokenizer and the number of layers
    for name, size in {**LANGUAGE, 'num_hidden_layers': layers}.items():
        if hasattr(default, name):
            config[kind.attribute_map.get(name, name)] = size
    decoder['config'] = config


def _stand_in(source: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """A source of ``data`` that takes part in the mixture as the given one does: pictures, a video or text."""
    has_pictures = source['type'] == 'TrainingData' or any(source.get(name) for name in ('images', 'shards'))
    task = 'TXT' if not has_pictures else 'VID' if source.get('kind') == 'video' else 'READ'
    left_out = ('num_samples', 'attend_next')  # there are few, and no pages
    entry = {key: value for key, value in source.items() if key in ENTRY_KEYS and key not in left_out}
    own = {key: source[key] for key in ('kind', 'media') if key in source}
    files = {kind: str(data / f'{task}_{kind}.json') for kind in ('instructions', 'train')}
    images = {} if task == 'TXT' else {'images': str(data / 'DG.parquet')}
    return {'type': 'MimicIt', **files, **images, **own, **entry}


def _in(cfg: Config, folder: Path, **changes: Any) -> Config:
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict({'work_dir': str(folder), **changes})
    return cfg


def _compare(whole: Mapping[str, Tensor], resumed: Mapping[str, Tensor]) -> None:
    differences = {name: (value.float() - resumed[name].float()).abs().max().item() for name, value in whole.items()}
    worst = max(differences, key=differences.get)
    if not differences[worst] <= 1e-5:
        raise RehearsalError(
            f'resumed at step {SAVED_AT}, the run ends with other weights than without the interruption: {worst} '
            f'differs by {differences[worst]:.2g}; does a part of the config keep a state that no checkpoint holds?'
        )


def _use(cfg: Config, folder: Path) -> None:
    """Load the folder as a user would, ask it something, and run the config's evaluation on it."""
    model, processor = load_folder(folder)
    picture = Image.new('RGB', (PICTURE, PICTURE), 'white')
    content = [{'type': 'image', 'image': picture}, {'type': 'text', 'text': 'What digit is this?'}]
    inputs = processor.apply_chat_template(
        [{'role': 'user', 'content': content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt',
    ).to(model.device)  # fmt: skip
    model.generate(**inputs, max_new_tokens=4)
    _say('loaded what was saved and had it answer')
    if cfg.get('evaluation'):
        # what the run starts from, a task may compare with: here the model is its own base
        start = cfg.get('load_from')
        evaluation = {key: str(folder) if start and value == start else value for key, value in cfg.evaluation.items()}
        run_task(TASKS.build(evaluation), model, processor, folder, limit=4)
        _say(f'evaluated with {cfg.evaluation["type"]}, 4 questions of each kind')
    else:
        _say('the config has no evaluation')


def _changes(cfg: Config, small: Config) -> str:
    """What stands where something else stood."""
    sources = len(small.train_dataloader.dataset.sources)
    return (
        f'random towers of width {WIDTH} for {cfg.model.vision_encoder.type} and '
        f'{small.model.language_decoder.config.model_type}, pictures of digits for its {sources} source(s), '
        f'{STEPS} steps of {small.train_dataloader.batch_size}'
    )


def _say(text: str) -> None:
    if is_main_process():
        print(text, flush=True)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that all processes share and that is removed in the end."""
    folder = Path(on_main(lambda: tempfile.mkdtemp(prefix='rehearsal_')))
    try:
        yield folder
        barrier()
    finally:
        if is_main_process():
            shutil.rmtree(folder, ignore_errors=True)
