"""mmgpt: trains, evaluates and serves Flamingo-type vision-language models."""

from mmgpt import compat as compat  # before anything that imports torchvision

__version__ = '0.1.0'
