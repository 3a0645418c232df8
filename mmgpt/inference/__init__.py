"""Using a model: generation, the chat session, the terminal."""

from mmgpt.inference.chat import Chat, Reply
from mmgpt.inference.generation import GenerationSettings

__all__ = ['Chat', 'GenerationSettings', 'Reply']
