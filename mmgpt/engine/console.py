"""What a tool's user does not need to see."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Silence the libraries' progress bars and the warnings that mmgpt's own way of using them causes.

    For tools only: a program that imports mmgpt keeps its own settings.
    """
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
