"""Builders: each writes a data set to disk before a run, in the files that the full-size runs read."""

from mmgpt.data.builders.digits import DigitsBuilder

__all__ = ['DigitsBuilder']
