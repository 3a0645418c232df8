"""Many clients at once: each gets the answer that it would get alone."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')
openai = pytest.importorskip('openai', reason='pip install "mmgpt[dev]"')

from mmgpt.serving.settings import ServerSettings  # noqa: E402
from tests.hub import tiny  # noqa: E402
from tests.serving.site import image, question, serving, url  # noqa: E402

TOKENS, MARGIN = 12, 1e-3


def movie(seed: int) -> str:
    """A data URL of a video of three frames."""
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    file = io.BytesIO()
    with av.open(file, 'w', format='mp4') as video:
        stream = video.add_stream('mpeg4', rate=5)
        stream.width = stream.height = 32
        for i in range(3):
            frame = Image.fromarray(torch.full((32, 32, 3), 20 * seed + 60 * i, dtype=torch.uint8).numpy())
            video.mux(stream.encode(av.VideoFrame.from_image(frame)))
        video.mux(stream.encode())
    return url(file.getvalue(), 'video/mp4')


def requests() -> list[list[dict]]:
    """Text, 1 to 8 pictures, video; no two alike."""
    made = []
    for i in range(32):
        kind = i % 10
        media = [image(100 * i + k) for k in range(kind if kind < 9 else 0)]
        if kind == 9:
            media = [{'type': 'video_url', 'video_url': {'url': movie(i // 10)}}]
        made.append(question(f'What is number {i}, and why?' * (1 + i % 3), *media))
    return made


def alone(messages: list[dict]) -> tuple[str, bool]:
    """What ``generate`` says, and whether every token was chosen with a clear margin."""
    model, processor = tiny.model_and_processor()
    plain = [
        {'type': 'video', 'video': part['video_url']['url']} if part['type'] == 'video_url' else part
        for part in messages[0]['content']
    ]
    inputs = processor.apply_chat_template(
        [{'role': 'user', 'content': plain}], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    out = model.generate(
        **inputs, max_new_tokens=TOKENS, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    best = torch.stack([scores[0].topk(2).values for scores in out.scores])
    text = processor.decode(out.sequences[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True).strip()
    return text, bool((best[:, 0] - best[:, 1] > MARGIN).all())


def test_32_mixed_clients():
    conversations = requests()
    settings = ServerSettings(max_tokens=TOKENS)
    with serving(settings=settings) as (address, app), openai.OpenAI(base_url=f'{address}/v1', api_key='-') as client:

        def ask(place: int) -> str:
            request = dict(model='tiny', messages=conversations[place])
            if place % 2:
                return client.chat.completions.create(**request).choices[0].message.content
            chunks = client.chat.completions.create(**request, stream=True)
            return ''.join(chunk.choices[0].delta.content or '' for chunk in chunks)

        engine, held = app.state.engine, threading.Event()
        engine.call(lambda model: held.wait(30))  # until all wait: however slowly they come, rows are full
        with ThreadPoolExecutor(32) as pool:
            answers = pool.map(ask, range(32))
            end = time.monotonic() + 30
            while engine.waiting < 32 and time.monotonic() < end:
                time.sleep(0.01)
            held.set()
        answers = list(answers)
        assert engine.decoded / engine.steps > 4
    clear = 0
    for answer, messages in zip(answers, conversations, strict=True):
        expected, is_clear = alone(messages)
        assert answer == expected or not is_clear
        clear += is_clear
    assert clear > 24
