"""The composed model and its parts: vision encoders, resamplers, cross-attention, language decoders."""

from mmgpt.models.builder import build_model as build_model
from mmgpt.models.config import FlamingoConfig as FlamingoConfig
from mmgpt.models.flamingo import Flamingo as Flamingo
