"""A random model of the benchmarks' size that is served by a process of its own, and clients for it."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def save_model(folder: Path, sizes: dict | None = None) -> None:
    """A Flamingo with random weights, whose tokens are words ``w17``, so that a text tells its ids."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from bench.models import LENGTH, SIZES, clip_arguments
    from mmgpt.data.prompter import Prompter
    from mmgpt.data.templates import Otter
    from mmgpt.data.tokens import add_special_tokens
    from mmgpt.data.vision_inputs import ImageTransform
    from mmgpt.hub.io import save_folder
    from mmgpt.hub.processor import FlamingoProcessor
    from mmgpt.models.builder import build_model

    sizes = sizes or SIZES
    text, resampler = sizes['text'], sizes['resampler']
    template = Otter()
    words = ['<s>', '</s>', '<unk>', 'User', 'GPT', ':']
    words += [f'w{i}' for i in range(len(words), text['vocabulary'] - len(template.special_tokens))]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token='<unk>'))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token='<s>', eos_token='</s>', unk_token='<unk>')
    add_special_tokens(tokenizer, template)
    prompter = Prompter(template, tokenizer, ImageTransform(sizes['image']))
    torch.manual_seed(0)
    llama = dict(
        model_type='llama',
        hidden_size=text['width'],
        intermediate_size=text['inner'],
        num_hidden_layers=text['layers'],
        num_attention_heads=text['heads'],
        max_position_embeddings=LENGTH,
        initializer_range=0.1,  # far enough apart for the likeliest token to mean something
    )
    config = dict(
        type='Flamingo',
        vision_encoder=dict(type='ClipVision', config=clip_arguments(sizes)),
        resampler=dict(
            type='PerceiverResampler',
            depth=resampler['depth'],
            num_latents=resampler['latents'],
            heads=resampler['heads'],
            head_width=resampler['head_width'],
            max_frames=16,
        ),
        language_decoder=dict(type='CausalLM', config=llama),
        cross_attention=dict(type='GatedCrossAttention', initial_gate=1.0),
        cross_attn_every_n_layers=4,
    )
    model = build_model(config, tokenizer, template.media_token, template.stop_token, template.special_tokens)
    save_folder(folder, model.eval(), FlamingoProcessor.for_model(prompter, model))


class Site:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen, port: int, model: str) -> None:
        self.process, self.port, self.model = process, port, model

    def send(self, body: bytes | dict, path: str = '/v1/chat/completions', **headers: str) -> tuple[int, Any, float]:
        """Status, JSON or text, and seconds of a request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        start = time.perf_counter()
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=300)
        try:
            connection.request('POST', path, data, {'Content-Type': 'application/json', **headers})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        seconds = time.perf_counter() - start
        try:
            return answer.status, json.loads(text), seconds
        except ValueError:
            return answer.status, text.decode(errors='replace'), seconds

    def first_token(self, body: dict) -> tuple[float, str]:
        """Seconds until the first piece of an answer, and the whole answer."""
        data = json.dumps({**body, 'stream': True}).encode()
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=300)
        start, first, pieces = time.perf_counter(), None, []
        connection.request('POST', '/v1/chat/completions', data, {'Content-Type': 'application/json'})
        for line in connection.getresponse():
            if line.startswith(b'data: {'):
                piece = json.loads(line[6:])['choices'][0]['delta'].get('content')
                if piece:
                    first = first or time.perf_counter() - start
                    pieces.append(piece)
        connection.close()
        return first, ''.join(pieces)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        try:
            connection.request('GET', path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def counters(self) -> dict[str, float]:
        """The values of ``/metrics``."""
        lines = self.get('/metrics')[1].splitlines()
        return {name: float(value) for name, value in (line.rsplit(' ', 1) for line in lines if line[0] != '#')}

    def memory(self) -> dict[str, float]:
        """MiB of the process now, and at its peak since the last call of ``reset_peak``."""
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        found = {key: int(re.search(rf'{key}:\s+(\d+)', status)[1]) / 1024 for key in ('VmRSS', 'VmHWM')}
        return {'now': found['VmRSS'], 'peak': found['VmHWM']}

    def reset_peak(self) -> None:
        """Counts the peak of memory from now on."""
        Path(f'/proc/{self.process.pid}/clear_refs').write_text('5')


@contextmanager
def served(folder: Path, *options: str) -> Iterator[Site]:
    """A server of a model folder in a process of its own, on a free port of this machine."""
    command = [sys.executable, str(ROOT / 'tools/serve.py'), str(folder), '--port', '0', '--device', 'cpu', *options]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        found = re.match(r'http://127\.0\.0\.1:(\d+)', line)
        if found is None:
            raise RuntimeError(f'the server did not start: {line!r}')
        site = Site(process, int(found[1]), folder.name)
        while not _is_up(site):
            if process.poll() is not None:
                raise RuntimeError(f'the server ended with code {process.returncode}')
            time.sleep(0.2)
        yield site
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _is_up(site: Site) -> bool:
    try:
        return site.get('/health')[0] == 200
    except OSError:
        return False


def png(seed: int) -> bytes:
    """A picture of coarse random colours, unlike that of any other seed."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(seed).integers(0, 256, (14, 14, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC).save(file, 'PNG')
    return file.getvalue()


def video(seed: int, frames: int = 8) -> bytes:
    """A short MP4."""
    import av
    from PIL import Image

    file = io.BytesIO()
    with av.open(file, 'w', format='mp4') as container:
        stream = container.add_stream('mpeg4', rate=4)
        stream.width = stream.height = 224
        for i in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.open(io.BytesIO(png(seed * 1000 + i))))))
        container.mux(stream.encode())
    return file.getvalue()


def part(data: bytes, kind: str) -> dict:
    """A picture (``image/png``) or video (``video/mp4``) of a message."""
    field = f'{kind.split("/")[0]}_url'
    return {'type': field, field: {'url': f'data:{kind};base64,{base64.b64encode(data).decode()}'}}


def words(seed: int, count: int) -> str:
    """Random words of the model's vocabulary."""
    import random

    chosen = random.Random(seed)
    return ' '.join(f'w{chosen.randrange(100, 30_000)}' for _ in range(count))
