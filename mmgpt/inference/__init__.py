"""Using a model: generation, the chat session, batches, the terminal; ``inferencer`` for users of MMEngine."""

from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.chat import Chat, Reply
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.requests import Answer, Request
from mmgpt.inference.session import load_session, save_session

__all__ = [
    'Answer',
    'BatchEngine',
    'Chat',
    'GenerationSettings',
    'Reply',
    'Request',
    'load_session',
    'save_session',
]
