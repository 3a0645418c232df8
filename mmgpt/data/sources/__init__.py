"""Annotation files as samples, registered in ``SOURCES``."""

from mmgpt.data.sources.base import Source
from mmgpt.data.sources.language import Alpaca, Baize, Dolly
from mmgpt.data.sources.llava import Llava
from mmgpt.data.sources.mimicit import MimicIt
from mmgpt.data.sources.records import Record, Records

__all__ = ['Alpaca', 'Baize', 'Dolly', 'Llava', 'MimicIt', 'Record', 'Records', 'Source']
