"""What the tools of the command line share: a quiet start, and an error in words."""

from __future__ import annotations

import gc
import logging
import warnings


def start_tool() -> None:
    """Silence the libraries, and let the garbage collector pass over what was imported.

    Silenced are their progress bars, and the warnings that mmgpt's own way of using them causes. What was imported
    stays until the end; passing over it shortens that end by the better part of a second, and processes that are
    forked keep sharing its memory. For tools only: a program that imports mmgpt keeps its own settings.
    """
    gc.freeze()
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    for message in (
        r'Detected call of `scheduler\.step\(\)` before `optimizer\.step\(\)`',  # an iteration is a micro-batch
        r'.*`torch\.jit\.\w+` is deprecated',  # said while libraries are imported
        r'.*pin_memory.*no accelerator',
    ):
        warnings.filterwarnings('ignore', message=message)
    logging.getLogger('bitsandbytes').setLevel(logging.ERROR)  # looks for kernels of its own wherever it is imported
    logging.getLogger('mmengine').addFilter(lambda record: 'metainfo' not in record.getMessage())


def message_of(error: Exception) -> str:
    """What an error says; by itself a ``KeyError`` puts its message in quotes."""
    return str(error.args[0] if isinstance(error, KeyError) and error.args else error)
