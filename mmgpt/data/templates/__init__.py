"""Templates: turns in, one text with its supervised spans out. Training, evaluation and chat use the same object."""

from mmgpt.data.templates.base import Piece, Rendered, Template, check_marks, split_examples
from mmgpt.data.templates.chat import ChatTemplate
from mmgpt.data.templates.idefics import Idefics
from mmgpt.data.templates.interleaved import Interleaved
from mmgpt.data.templates.multimodal_gpt import LEAD, MultiModalGPT
from mmgpt.data.templates.openflamingo import OpenFlamingo
from mmgpt.data.templates.otter import Otter, OtterLlama2

__all__ = [
    'LEAD',
    'ChatTemplate',
    'Idefics',
    'Interleaved',
    'MultiModalGPT',
    'OpenFlamingo',
    'Otter',
    'OtterLlama2',
    'Piece',
    'Rendered',
    'Template',
    'check_marks',
    'split_examples',
]
