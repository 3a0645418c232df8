"""Builds the parts of a model from their configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmgpt.registry import Registry


def build_part(registry: Registry, cfg: Mapping[str, Any], plugin_modules: Mapping[str, str], **arguments: Any) -> Any:
    """The member ``cfg['type']`` of a registry, made with the other entries of ``cfg`` and with ``arguments``.

    Raises:
        KeyError: there is no such member. If the config says that it came from a plugin, the message names the module
            to import: nothing that a file names is imported by itself.
    """
    name = cfg['type']
    if name in plugin_modules and name not in registry.names():
        raise KeyError(
            f'the {registry.name} {name!r} is a plugin: import the module {plugin_modules[name]!r} before loading '
            'this model'
        )
    return registry.build({**cfg, **arguments})
