"""Mends for library combinations that pip allows and that do not import by themselves."""

from __future__ import annotations

import importlib.util
import os

_libraries = []  # a torch.library.Library un-registers its operators when it is collected


def define_missing_torchvision_operators() -> None:
    """Lets torchvision import beside a CPU-only torch.

    PyPI's torchvision is linked against CUDA, so beside a CPU-only torch its binary part does not load, and the import
    fails on two operators that it expects to find there. Declaring them is enough for all of torchvision that needs no
    binary part; calling one of the two still raises torchvision's own error. Does nothing where they exist.
    """
    if importlib.util.find_spec('torchvision') is None:
        return
    import torch

    if torch.version.cuda is not None:
        return
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    _libraries.append(library)


define_missing_torchvision_operators()
os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')  # tokenizers warn and stall in forked loader workers otherwise
