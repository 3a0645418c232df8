"""mmgpt: trains, evaluates and serves Flamingo-type vision-language models.

Importing it makes the models known to Hugging Face's Auto classes.
"""

from mmgpt import compat as compat  # before anything that imports torchvision

__version__ = '0.1.0'

from mmgpt.hub.auto import register_auto_classes

register_auto_classes()
