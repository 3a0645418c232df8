"""Annotation files as samples, registered in ``SOURCES``."""

from mmgpt.data.sources.base import Source
from mmgpt.data.sources.mimicit import MimicIt

__all__ = ['MimicIt', 'Source']
