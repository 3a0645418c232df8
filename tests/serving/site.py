"""A real server on a free port of this machine, in a thread, and what a client sends it."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import threading
import time

import uvicorn
from PIL import Image

from mmgpt.serving.app import create_app
from mmgpt.serving.run import HeadInTime
from mmgpt.serving.settings import ServerSettings
from tests.hub import tiny


@contextlib.contextmanager
def serving(load=tiny.model_and_processor, name='tiny', settings=None, adapters=None, wait=True, rival=None):
    """The address of a server and its application."""
    app = create_app(load, name, settings or ServerSettings(max_tokens=8), adapters, rival=rival)
    with socket.socket() as listening:
        listening.bind(('127.0.0.1', 0))
        server = uvicorn.Server(uvicorn.Config(app, http=HeadInTime, log_level='error', timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            while not server.started or (wait and app.state.engine is None):
                assert thread.is_alive()
                time.sleep(0.01)
            yield f'http://127.0.0.1:{listening.getsockname()[1]}', app
        finally:
            server.should_exit = True
            thread.join(10)


def url(data: bytes | Image.Image, kind: str = 'image/png') -> str:
    """A data URL."""
    if not isinstance(data, bytes):
        file = io.BytesIO()
        data.save(file, 'PNG')
        data = file.getvalue()
    return f'data:{kind};base64,{base64.b64encode(data).decode()}'


def image(value: int) -> dict:
    return {'type': 'image_url', 'image_url': {'url': url(tiny.picture(value))}}


def question(text: str, *media: dict) -> list[dict]:
    return [{'role': 'user', 'content': [*media, {'type': 'text', 'text': text}]}]


def generated(messages: list[dict], tokens: int = 8, model=None) -> str:
    """What plain ``generate`` says to messages in OpenAI's form with pictures."""
    own, processor = tiny.model_and_processor()
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    out = (model or own).generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return processor.decode(out[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True).strip()
