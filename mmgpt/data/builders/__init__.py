"""Builders: each writes a data set to disk before a run, in the files that the full-size runs read."""

from mmgpt.data.builders.characters import CharactersBuilder
from mmgpt.data.builders.digits import DigitsBuilder
from mmgpt.data.builders.mimicit import MimicItFiles
from mmgpt.data.builders.multimodal_gpt import MultiModalGPTFiles
from mmgpt.data.builders.pretraining import PretrainingFiles

__all__ = ['CharactersBuilder', 'DigitsBuilder', 'MimicItFiles', 'MultiModalGPTFiles', 'PretrainingFiles']
