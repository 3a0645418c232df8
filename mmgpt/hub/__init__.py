"""The Hugging Face face: processor, Auto classes, and folders that hold a model with everything it needs."""

from mmgpt.hub.io import load_folder, save_folder
from mmgpt.hub.processor import FlamingoProcessor

__all__ = ['FlamingoProcessor', 'load_folder', 'save_folder']
