"""The Hugging Face face: processor, Auto classes, and folders that hold a model with everything it needs."""

from mmgpt.hub.io import load_folder, save_folder
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.hub.push import push_to_hub

__all__ = ['FlamingoProcessor', 'load_folder', 'push_to_hub', 'save_folder']
