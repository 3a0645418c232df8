"""Every registry of mmgpt: the slots where users plug in.

============================ =========================================== ===========================
registry                     a member is                                 members live in
============================ =========================================== ===========================
``VISION_ENCODERS``          frames (N, 3, H, W) -> patches (N, P, D)    ``mmgpt.models.vision_encoders``
``RESAMPLERS``               (M, F, P, D), frame mask -> (M, L, D)       ``mmgpt.models.resamplers``
``CROSS_ATTENTIONS``         text (R, S, D), ``Media`` -> (R, S, D)      ``mmgpt.models.cross_attention``
``LANGUAGE_DECODERS``        how to reach into a causal LM               ``mmgpt.models.language_decoders``
``ADAPTERS``                 puts trained adapters into a model          ``mmgpt.models.adapters``
``MODELS``                   the composed model                          ``mmgpt.models.flamingo``
``SOURCES``                  annotation file -> ``Sample``               ``mmgpt.data.sources``
``IMAGE_STORES``             frame key -> picture                        ``mmgpt.data.image_stores``
``RETRIEVERS``               ``Sample`` -> ids of its context            ``mmgpt.data.incontext``
``TEMPLATES``                turns -> text and supervised spans          ``mmgpt.data.templates``
``TRANSFORMS``               picture -> picture (augmentation)           ``mmgpt.data.vision_inputs``
``SAMPLERS``                 the order of the stream of batches          ``mmgpt.data.samplers``
``BUILDERS``                 writes a data set to disk before a run      ``mmgpt.data.builders``
``TASKS``                    evaluates a model                           ``mmgpt.evaluation``
``EVALUATION_TASKS``         questions of a benchmark and its rules      ``mmgpt.evaluation.tasks``
``DEMONSTRATIONS``           what is shown before a query                ``mmgpt.evaluation``
``METRICS``                  answers, references -> figures              ``mmgpt.evaluation.metrics``
``HOOKS``                    acts between iterations (MMEngine's parent) ``mmgpt.engine.hooks``
``LOOPS``                    the training loop (MMEngine's parent)       ``mmgpt.engine.loops``
``OPTIM_WRAPPERS``           the optimiser step (MMEngine's parent)      ``mmgpt.engine.optim_wrapper``
``STRATEGIES``               spreads a model over processes              ``mmgpt.engine.strategies``
``SYPHUS_TASKS``             annotation -> what a model is told          ``mmgpt.syphus.tasks``
``SYPHUS_FILTERS``           drops generated pairs, with a reason        ``mmgpt.syphus.filters``
============================ =========================================== ===========================

A plugin registers a class and is named in a config::

    from mmgpt.registry import RESAMPLERS

    @RESAMPLERS.register_module()
    class MeanPool(torch.nn.Module): ...

    # config: custom_imports = dict(imports=['my_plugin']); resampler = dict(type='MeanPool')

A member's ``type`` is its class name. A name that is in no registry is answered with the closest ones.
"""

from __future__ import annotations

import difflib
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry as _MMEngineRegistry


class Registry(_MMEngineRegistry):
    """An MMEngine registry that answers a wrong name with "did you mean".

    Example:
        >>> from mmgpt.registry import Registry
        >>> COLOURS = Registry('colour', scope='mmgpt')
        >>> _ = COLOURS.register_module(name='Red', module=dict)
        >>> COLOURS.build(dict(type='Rde'))
        Traceback (most recent call last):
        ...
        KeyError: "there is no colour named 'Rde'; did you mean 'Red'?"
    """

    def names(self) -> list[str]:
        """The names of all members, those of the MMEngine parent included."""
        self.import_from_location()
        names = set(self.module_dict)
        if self.parent is not None:
            self.parent.import_from_location()
            names |= set(self.parent.module_dict)
        return sorted(names)

    def get(self, key: str) -> Any:
        """The member of that name; a KeyError with the closest names where there is none."""
        found = super().get(key)
        if found is None and isinstance(key, str):
            raise KeyError(self.unknown(key))
        return found

    def unknown(self, key: str) -> str:
        """The message for a name that no member has."""
        message = f'there is no {self.name} named {key!r}'
        close = difflib.get_close_matches(key, self.names(), n=3, cutoff=0.5)
        if close:
            return f'{message}; did you mean {" or ".join(map(repr, close))}?'
        known = ', '.join(self.names()) or 'none: is the plugin named in custom_imports?'
        return f'{message}; registered are: {known}'

    def build(self, cfg: dict, *args: Any, **kwargs: Any) -> Any:
        """The member that ``cfg['type']`` names, made with the rest of ``cfg``."""
        if not isinstance(cfg, dict) or 'type' not in cfg:
            raise TypeError(f"a {self.name} is configured by a dict with the key 'type', got {cfg!r}")
        if isinstance(cfg['type'], str):
            self.get(cfg['type'])  # a wrong name: our message, before MMEngine's
        return super().build(cfg, *args, **kwargs)


def _registry(name: str, location: str, parent: _MMEngineRegistry | None = None) -> Registry:
    return Registry(name, parent=parent, scope='mmgpt', locations=[location])


VISION_ENCODERS = _registry('vision encoder', 'mmgpt.models.vision_encoders')
RESAMPLERS = _registry('resampler', 'mmgpt.models.resamplers')
CROSS_ATTENTIONS = _registry('cross-attention', 'mmgpt.models.cross_attention')
LANGUAGE_DECODERS = _registry('language decoder', 'mmgpt.models.language_decoders')
ADAPTERS = _registry('adapter', 'mmgpt.models.adapters')
MODELS = _registry('model', 'mmgpt.models.flamingo')

SOURCES = _registry('source', 'mmgpt.data.sources')
IMAGE_STORES = _registry('image store', 'mmgpt.data.image_stores')
RETRIEVERS = _registry('retriever', 'mmgpt.data.incontext')
TEMPLATES = _registry('template', 'mmgpt.data.templates')
TRANSFORMS = _registry('transform', 'mmgpt.data.vision_inputs')
SAMPLERS = _registry('sampler', 'mmgpt.data.samplers')
BUILDERS = _registry('data builder', 'mmgpt.data.builders')

TASKS = _registry('evaluation', 'mmgpt.evaluation')
EVALUATION_TASKS = _registry('evaluation task', 'mmgpt.evaluation.tasks')
DEMONSTRATIONS = _registry('choice of demonstrations', 'mmgpt.evaluation.demonstrations')
METRICS = _registry('metric', 'mmgpt.evaluation.metrics')

HOOKS = _registry('hook', 'mmgpt.engine.hooks', mmengine_registry.HOOKS)
LOOPS = _registry('loop', 'mmgpt.engine.loops', mmengine_registry.LOOPS)
OPTIM_WRAPPERS = _registry('optimizer wrapper', 'mmgpt.engine.optim_wrapper', mmengine_registry.OPTIM_WRAPPERS)
STRATEGIES = _registry('strategy', 'mmgpt.engine.strategies')

SYPHUS_TASKS = _registry('Syphus task', 'mmgpt.syphus.tasks')
SYPHUS_FILTERS = _registry('filter of pairs', 'mmgpt.syphus.filters')

_INSIDE = {'mmgpt', 'mmengine', 'torch'}  # packages whose members come by themselves
ALL = {name: value for name, value in globals().items() if isinstance(value, Registry)}


def plugin_modules(cfg: Any) -> dict[str, str]:
    """The members from outside mmgpt that a nested config names by ``type``: type -> the module that registers it.

    A saved model holds them, so that loading can say what is missing; see ``require_plugins``.
    """
    found = {}
    waiting = [cfg]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
            kind = value.get('type')
            for registry in ALL.values() if isinstance(kind, str) else ():
                member = registry.module_dict.get(kind)
                if member is not None and member.__module__.split('.')[0] not in _INSIDE:
                    found[kind] = member.__module__
        elif isinstance(value, list | tuple):
            waiting += value
    return dict(sorted(found.items()))


def require_plugins(modules: dict[str, str]) -> None:
    """Checks that the plugins of a saved model are registered, and imports nothing: what a file names is never run.

    Args:
        modules: as ``plugin_modules`` gave them.

    Raises:
        ImportError: the message says which module to import first.
    """
    for name, module in modules.items():
        if not any(name in registry.module_dict for registry in ALL.values()):
            raise ImportError(
                f'{name!r} is a plugin, and nothing that a folder names is imported by itself: import {module} before '
                f'loading the model (for a tool: --import {module}, or custom_imports in its config)'
            )
