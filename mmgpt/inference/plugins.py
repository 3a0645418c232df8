"""Plugins that a user names."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable


def import_plugins(modules: Iterable[str]) -> None:
    """Imports the modules that a user named, looked for in the working folder too.

    Raises:
        ImportError: there is no such module.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module.partition('.')[0]:
                raise  # the plugin was found; something that it imports was not
            raise ImportError(f'there is no module {module!r}; is its folder in PYTHONPATH?') from error
