"""Builders: each writes a data set to disk before a run, in the files that the full-size runs read."""

from mmgpt.data.builders.digits import DigitsBuilder
from mmgpt.data.builders.mimicit import MimicItFiles

__all__ = ['DigitsBuilder', 'MimicItFiles']
