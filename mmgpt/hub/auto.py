"""Makes the model known to Hugging Face's Auto classes; ``import mmgpt`` calls it."""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.config import FlamingoConfig
from mmgpt.models.flamingo import Flamingo


def register_auto_classes() -> None:
    """After it, the Auto classes load a folder that mmgpt saved. Calling it again changes nothing."""
    AutoConfig.register(FlamingoConfig.model_type, FlamingoConfig, exist_ok=True)
    AutoModelForImageTextToText.register(FlamingoConfig, Flamingo, exist_ok=True)
    AutoProcessor.register(FlamingoConfig, FlamingoProcessor, exist_ok=True)
