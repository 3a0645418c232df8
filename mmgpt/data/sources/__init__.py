"""Annotation files as samples, registered in ``SOURCES``."""

from mmgpt.data.sources.base import Broken, Source, Unusable, check_attend_next
from mmgpt.data.sources.captions import CocoCaption, MiniGPT4
from mmgpt.data.sources.language import Alpaca, Baize, Dolly
from mmgpt.data.sources.llava import Llava
from mmgpt.data.sources.messages import Messages
from mmgpt.data.sources.mimicit import MimicIt
from mmgpt.data.sources.mimicit_hub import MimicItHub
from mmgpt.data.sources.records import Record, Records
from mmgpt.data.sources.statements import Nlvr, Nlvr2, SnliVe
from mmgpt.data.sources.vqa import AOkVqa, Clevr, Gqa, OcrVqa, TextVqa, Vqa
from mmgpt.data.sources.web import ImageTextTars, Mmc4

__all__ = [
    'AOkVqa',
    'Alpaca',
    'Baize',
    'Broken',
    'Clevr',
    'CocoCaption',
    'Dolly',
    'Gqa',
    'ImageTextTars',
    'Llava',
    'Messages',
    'MimicIt',
    'MimicItHub',
    'MiniGPT4',
    'Mmc4',
    'Nlvr',
    'Nlvr2',
    'OcrVqa',
    'Record',
    'Records',
    'SnliVe',
    'Source',
    'TextVqa',
    'Unusable',
    'Vqa',
    'check_attend_next',
]
