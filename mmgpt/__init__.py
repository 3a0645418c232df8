"""mmgpt: trains, evaluates and serves Flamingo-type vision-language models.

Importing it makes the models known to Hugging Face's Auto classes, and lets requests to the hub fail at once where
there is no network.
"""

import gc

__version__ = '0.1.0'

_collects = gc.isenabled()
gc.disable()  # an import makes next to no garbage, and looking for it would add an eighth to the time
try:
    from mmgpt import compat as compat  # before anything that imports torchvision
    from mmgpt.hub.auto import register_auto_classes
    from mmgpt.hub.network import fail_fast_offline

    fail_fast_offline()
    register_auto_classes()
finally:
    if _collects:
        gc.enable()
