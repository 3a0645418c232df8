"""Using a model: generation, the chat session, batches, the inferencer, the terminal."""

from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.chat import Chat, Reply
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.inferencer import VisionLanguageInferencer
from mmgpt.inference.requests import Answer, Request
from mmgpt.inference.session import load_session, save_session

__all__ = [
    'Answer',
    'BatchEngine',
    'Chat',
    'GenerationSettings',
    'Reply',
    'Request',
    'VisionLanguageInferencer',
    'load_session',
    'save_session',
]
