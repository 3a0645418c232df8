"""Checks a whole config and tells all its faults at once, before data is read or weights are loaded.

Keys are checked against the code that will take them: the constructor behind a ``type``, torch's optimisers,
MMEngine's schedulers, the configuration classes of transformers and open_clip. Parts that cost nothing are built, and
the model is built without memory (on the meta device), so that what constructors refuse is told here too.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine import Config
from mmengine.hooks import EarlyStoppingHook, EMAHook
from mmengine.registry import OPTIMIZERS, PARAM_SCHEDULERS
from mmengine.visualization.vis_backend import VISBACKENDS  # from here, so that their members are known
from mmengine.visualization.visualizer import VISUALIZERS
from torch.utils.data import DataLoader
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import RopeParameters
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mmgpt.data.builder import ENTRY_KEYS
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import check_attend_next
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.engine.config_keys import DECODER_KEYS, DIST_KEYS, ENCODER_KEYS, SETTINGS, TOP_LEVEL
from mmgpt.engine.config_paths import path_faults
from mmgpt.engine.config_rules import Rule, Rules, near_key
from mmgpt.engine.config_source import ConfigSource, Fault, Key, did_you_mean
from mmgpt.engine.config_trial import model_faults
from mmgpt.engine.hooks import DEFAULT_HOOKS
from mmgpt.engine.hooks.feature_cache import FeatureCacheHook
from mmgpt.engine.inputs import at
from mmgpt.engine.signatures import Argument, Arguments, arguments_of
from mmgpt.hub.model_card import CardFields
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.media_span import Attend
from mmgpt.registry import ALL, MODELS

UNFIT_HOOKS = {
    EarlyStoppingHook: 'would never stop: it waits for the metrics of an epoch, and a run has none; leave it out',
    EMAHook: "cannot save its averages: a checkpoint is a Hugging Face folder, without MMEngine's 'state_dict'; "
    'leave it out',
}


def check_config(cfg: Config, source: ConfigSource | None = None) -> list[Fault]:
    """All faults of a config.

    Args:
        cfg: the config, its plugins imported.
        source: its files, for the file and line of each fault.

    Returns:
        one fault per wrong key, value, name, pattern or path; empty for a config that can be built.
    """
    check = _Check(source or ConfigSource(Path(cfg.filename or 'config')))
    check.whole(cfg)
    return check.faults


class _Check(Rules):
    """One pass over a config."""

    def __init__(self, source: ConfigSource):
        super().__init__(source)
        self.pretrained = False  # the language model is read from a folder or the hub
        self.attend = ''  # what the model says
        self.slots |= {
            'vision_encoder': self.member(ALL['VISION_ENCODERS'], ENCODER_KEYS),
            'resampler': self.member(ALL['RESAMPLERS'], given=('width',)),
            'cross_attention': self.member(ALL['CROSS_ATTENTIONS'], given=('width', 'media_width')),
            'language_decoder': self.member(ALL['LANGUAGE_DECODERS'], DECODER_KEYS, ('lm',), default='CausalLM'),
            'adapter': self.member(ALL['ADAPTERS'], built=True),
            'template': self.member(ALL['TEMPLATES'], built=True),
            'sources': self.each(self.training_source),
            'images': self.image_store,
            'retriever': self.member(ALL['RETRIEVERS'], built=True),
            'augment': self.each(self.member(ALL['TRANSFORMS'], built=True)),
            'sampler': self.member(
                ALL['SAMPLERS'], given=('dataset', 'batch_size', 'seed', 'rank', 'world_size'), default='MixtureSampler'
            ),
            'optimizer': self.member(OPTIMIZERS, given=('params',)),
            'dist_cfg': self.keys(DIST_KEYS),
            'vis_backends': self.each(self.member(VISBACKENDS, given=('save_dir',))),
        }

    # What a config consists of

    def whole(self, cfg: Config) -> None:
        config = cfg.to_dict() if hasattr(cfg, 'to_dict') else dict(cfg)
        self.top_level(config)
        given = {name: value for name, value in config.items() if name in TOP_LEVEL and value is not None}
        parts: dict[str, Rule] = {
            'model': self.model,
            'template': self.slots['template'],
            'image_transform': self.call(ImageTransform),
            'export': self.call(CardFields),
            'compile': self.options(_compile_options()),
            'gradient_checkpointing': self.options({'every': Argument(int)}),
            'train_dataloader': self.dataloader,
            'train_cfg': self.member(ALL['LOOPS'], given=('runner', 'dataloader')),
            'val_dataloader': self.dataloader,
            'val_cfg': self.member(ALL['LOOPS'], given=('runner', 'dataloader'), default='ValLoop'),
            'optim_wrapper': self.optim_wrapper,
            'param_scheduler': self.each(self.scheduler),
            'data_builder': self.member(ALL['BUILDERS'], built=True),
            'evaluation': self.evaluation,
            'default_hooks': self.default_hooks,
            'custom_hooks': self.each(self.member(ALL['HOOKS'], also=('priority',), built=True)),
            'feature_cache': self.call(FeatureCacheHook),
            'visualizer': self.member(VISUALIZERS),
            'strategy': self.member(ALL['STRATEGIES'], default='DDP', built=True),
            **{name: self.keys(arguments) for name, arguments in SETTINGS.items()},
        }
        for name, rule in parts.items():
            if name in given and self.value((name,), given[name], TOP_LEVEL[name].hint):
                rule((name,), given[name])
        for key, message in path_faults(given, self.source.path):
            self.fault(key, message)
        if 'feature_cache' in given:
            self.augmented(at(given, 'train_dataloader', 'dataset', 'sources'))
        if not self.faults and 'model' in given:
            size = at(given, 'image_transform', 'size')
            optim_wrapper = given.get('optim_wrapper', {})
            for key, message in model_faults(given['model'], optim_wrapper, 'feature_cache' in given, size):
                self.fault(key, message)

    def top_level(self, config: dict) -> None:
        variables = {name for name in self.source.top_level if name in self.source.used}
        unknown = [n for n in (*self.source.top_level, *config) if n not in TOP_LEVEL and n != '_base_']
        for name in dict.fromkeys(unknown):
            if name not in variables and not callable(config.get(name)):
                self.fault((name,), f'unknown key {name!r}{did_you_mean(name, [*TOP_LEVEL, "_base_"])}')
        needed = {name for name, argument in TOP_LEVEL.items() if argument.required}
        if config.get('evaluation') is not None and not needed & {name for name in config if config[name] is not None}:
            needed = set()  # it says how to evaluate, and describes no training
        if config.get('val_cfg') is not None and not config.get('val_dataloader'):
            self.fault(('val_cfg',), "val_cfg says how the loss is measured on a 'val_dataloader', and there is none")
        for name, argument in TOP_LEVEL.items():
            if name in needed and config.get(name) is None:
                self.fault((name,), f'the config has no {name!r}')
            elif name in config:
                self.value((name,), config[name], argument.hint)

    def model(self, key: Key, value: dict) -> None:
        if not self.type_of(key, value, MODELS):
            return
        self.attend = str(value.get('attend', ''))
        decoder = value.get('language_decoder')
        self.pretrained = isinstance(decoder, Mapping) and bool(decoder.get('weights'))
        arguments, _ = arguments_of(FlamingoConfig.__init__)
        arguments = {n: a for n, a in arguments.items() if n not in ('text_config', 'media_token_id', 'plugin_modules')}
        arguments |= {
            'attend': Argument(Attend),
            'without_media': Argument(Literal['skip', 'zero_attention']),
            'trainable': Argument(list[str]),
            'train_embeddings': Argument(Literal['all', 'new'] | None),
            'vision_encoder': Argument(dict, required=True),
            'resampler': Argument(dict, required=True),
            'language_decoder': Argument(dict, required=True),
        }
        self.arguments(key, value, arguments)

    def inside(self, key: Key, value: Mapping, member: type) -> None:
        """The inline configuration of a tower or a language model; hooks that do not work here."""
        if member in UNFIT_HOOKS:
            self.fault((*key, 'type'), f'{member.__name__} {UNFIT_HOOKS[member]}')
        key, value = (*key, 'config'), value.get('config')
        if not isinstance(value, Mapping):
            return
        kind = getattr(member, 'config_class', None)
        if key[-2] == 'language_decoder':
            name = value.get('model_type')
            if name is None:
                near = near_key('model_type', value)
                if not self.pretrained or near:
                    self.fault((*key, ''), f"the key 'model_type' is missing{near}")
                return
            if name not in CONFIG_MAPPING:
                near = did_you_mean(name, CONFIG_MAPPING.keys())
                self.fault((*key, 'model_type'), f'unknown model_type {name!r}{near}')
                return
            kind = CONFIG_MAPPING[name]
        if kind is None:
            return
        arguments, _ = arguments_of(kind)
        arguments |= {alias: Argument() for alias in kind.attribute_map}
        arguments |= {'model_type': Argument(str), 'attn_implementation': Argument(str)}
        arguments = {name: Argument(argument.hint) for name, argument in arguments.items()}
        self.arguments(key, value, arguments)
        if isinstance(value.get('rope_parameters'), Mapping):
            known = {name: Argument() for name in RopeParameters.__annotations__}
            self.arguments((*key, 'rope_parameters'), value['rope_parameters'], known)
        for name in ('hidden_act', 'activation_function'):
            activation = value.get(name)
            if isinstance(activation, str) and activation not in ACT2FN:
                near = did_you_mean(activation, ACT2FN.keys())
                self.fault((*key, name), f'unknown activation {activation!r}{near}')

        attention, known = value.get('attn_implementation'), ['eager', *ALL_ATTENTION_FUNCTIONS.valid_keys()]
        if isinstance(attention, str) and '/' not in attention and attention not in known:  # 'owner/name': from the hub
            near = did_you_mean(attention, known)
            self.fault((*key, 'attn_implementation'), f'unknown attention {attention!r}{near}')

    def dataloader(self, key: Key, value: dict) -> None:
        arguments, _ = arguments_of(DataLoader)
        made = ('dataset', 'batch_sampler', 'sampler', 'shuffle', 'collate_fn', 'generator', 'drop_last')
        arguments = {name: Argument(a.hint) for name, a in arguments.items() if name not in made}
        arguments |= {
            'batch_size': Argument(int, required=True),
            'dataset': Argument(dict, required=True),
            'sampler': Argument(dict),
            'num_workers': Argument(int),
            'pad_to_multiple_of': Argument(int),
            'padding_free': Argument(bool),
        }
        if key == ('val_dataloader',):  # each sample once, in their order
            del arguments['sampler']
        self.arguments(key, value, arguments)
        if isinstance(value.get('dataset'), Mapping):
            arguments, _ = arguments_of(InstructionDataset)
            arguments = {n: a for n, a in arguments.items() if n not in ('entries', 'prompter', 'seed')}
            arguments['sources'] = Argument(list, required=True)
            self.arguments((*key, 'dataset'), value['dataset'], arguments)

    def training_source(self, key: Key, value: Any) -> None:
        before = len(self.faults)
        self.member(ALL['SOURCES'], also=_entry_keys())(key, value)
        if len(self.faults) > before or value.get('attend_next') is None:
            return
        try:
            check_attend_next(ALL['SOURCES'].get(value['type']), value['attend_next'])
        except ValueError as error:
            self.fault((*key, 'attend_next'), str(error))
        if self.attend.startswith('all'):
            self.fault(
                (*key, 'attend_next'),
                f'attend_next chooses between the previous and the next medium, but model.attend is {self.attend!r}: '
                "leave it out, or set model.attend to 'previous' or 'next'",
            )

    def evaluation(self, key: Key, value: Any) -> None:
        self.member(ALL['TASKS'])(key, value)
        for name, registry in (('task', 'EVALUATION_TASKS'), ('demonstrations', 'DEMONSTRATIONS')):
            if isinstance(value, Mapping) and isinstance(value.get(name), Mapping):
                self.member(ALL[registry])((*key, name), value[name])

    def image_store(self, key: Key, value: Any) -> None:
        if isinstance(value, Mapping):
            self.member(ALL['IMAGE_STORES'])(key, value)

    def augmented(self, sources: Any) -> None:
        """Faults where pictures are augmented whose features shall be kept."""
        for number, source in enumerate(sources if isinstance(sources, list | tuple) else ()):
            if isinstance(source, Mapping) and source.get('augment'):
                key = ('train_dataloader', 'dataset', 'sources', number, 'augment')
                self.fault(key, 'features of augmented pictures cannot be kept: remove augment or feature_cache')

    def optim_wrapper(self, key: Key, value: dict) -> None:
        self.member(ALL['OPTIM_WRAPPERS'])(key, value)
        clip = value.get('clip_grad')
        if isinstance(clip, Mapping):
            arguments, _ = arguments_of(torch.nn.utils.clip_grad_norm_)
            self.arguments((*key, 'clip_grad'), clip, {n: a for n, a in arguments.items() if n != 'parameters'})
        optimizer = value.get('optimizer')
        if isinstance(optimizer, Mapping) and 'type' in optimizer and 'lr' not in optimizer:
            self.fault((*key, 'optimizer'), f"the optimizer has no 'lr'{near_key('lr', optimizer)}")

    def scheduler(self, key: Key, value: Any) -> None:
        self.member(PARAM_SCHEDULERS, given=('optimizer', 'param_name'))(key, value)
        if isinstance(value, Mapping) and value.get('by_epoch'):
            self.fault(
                (*key, 'by_epoch'),
                'by_epoch: a run is counted in iterations and has no epochs, so the learning rate would stay where it '
                'starts: leave it out, and give begin, end and T_max in iterations',
            )

    def default_hooks(self, key: Key, value: dict) -> None:
        for name, hook in value.items():
            if name not in DEFAULT_HOOKS:
                near = did_you_mean(name, DEFAULT_HOOKS)
                self.fault((*key, name), f'there is no default hook {name!r}{near} (others belong into custom_hooks)')
            elif hook is not None:
                self.member(ALL['HOOKS'], also=('priority',), built=True)((*key, name), hook)


def _compile_options() -> Arguments:
    """What ``compile`` may hold: arguments of ``torch.compile``."""
    names = [name for name in inspect.signature(torch.compile).parameters if name not in ('model', 'disable')]
    modes = Literal['default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs']
    return {**dict.fromkeys(names, Argument()), 'mode': Argument(modes | None), 'dynamic': Argument(bool | None)}


def _entry_keys() -> Arguments:
    """What a source's dict holds for the mixture."""
    return {name: argument for name, argument in arguments_of(SourceEntry)[0].items() if name in ENTRY_KEYS}
