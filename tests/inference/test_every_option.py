"""Generation with every option that saves time says what the plain model says."""

from __future__ import annotations

import pytest
import torch
from transformers import CompileConfig, StaticCache

from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.requests import Request
from tests.hub import tiny as hub
from tests.models import tiny

ARGUMENTS = dict(max_new_tokens=5, eos_token_id=None, pad_token_id=tiny.PAD, do_sample=False)
TURNS = [[1, 20, tiny.MARK, 21], [33, tiny.MARK, 34]]
ROWS = 3


def pictures(seed: int) -> torch.Tensor:
    shape = (ROWS, 1, 1, 3, tiny.SIZE, tiny.SIZE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def turn(number: int) -> torch.Tensor:
    """(ROWS, S): the same marks in each row, other words."""
    ids = torch.tensor([TURNS[number]]).repeat(ROWS, 1)
    ids[:, -1] += torch.arange(ROWS)
    return ids


@pytest.mark.parametrize('backend', ['eager', pytest.param('inductor', marks=pytest.mark.slow)])
def test_static_compiled_batched_and_continued_at_once(backend):
    """Two turns of three dialogues in one static cache, decoding compiled, oneDNN; against each by itself uncached."""
    torch._dynamo.reset()
    model, media = tiny.model('llama'), [pictures(0), pictures(1)]
    compiling = CompileConfig(backend=backend, fullgraph=False, dynamic=False, mode=None)
    compiling._compile_all_devices = True
    cache = StaticCache(config=model.config.text_config, max_cache_len=32)
    with tiny.onednn():
        text = turn(0)
        for number in range(2):
            if number:
                text = torch.cat((text, turn(1)), 1)
            options = dict(past_key_values=cache, compile_config=compiling)
            text = model.generate(text, pixel_values=media[number], **ARGUMENTS, **options)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0
    for row in range(ROWS):
        alone = turn(0)[row : row + 1]
        alone = model.generate(alone, pixel_values=media[0][row : row + 1], **ARGUMENTS, use_cache=False)
        alone = torch.cat((alone, turn(1)[row : row + 1]), 1)
        both = torch.cat([one[row : row + 1] for one in media], 1)
        alone = model.generate(alone, pixel_values=both, **ARGUMENTS, use_cache=False)
        assert torch.equal(text[row], alone[0])


def test_continuous_batches_that_reuse_their_prefixes():
    """Dialogues of two turns, answered together as they come, with oneDNN; against each by itself uncached."""
    model, processor = hub.model_and_processor()
    dialogues = [[hub.user(f'What is {n}?', hub.image(n))] for n in range(3)]
    with tiny.onednn(), BatchEngine(model, processor, max_batch=3) as engine:
        for number in range(2):
            asked = [Request(engine.prompt(messages), GenerationSettings(max_new_tokens=6)) for messages in dialogues]
            answers = dict(engine.generate(asked))
            assert number == 0 or all(answer.reused > 0 for answer in answers.values())
            for place, messages in enumerate(dialogues):
                messages.append(hub.assistant(answers[place].text))
                messages.append(hub.user('And this?', hub.image(5 + place)))
        assert engine.decoded / engine.steps > 2
    for messages in dialogues:
        for end in (1, 3):
            assert messages[end]['content'] == plain(model, processor, messages[:end])


def plain(model, processor, messages):
    """The content of the answer that plain ``generate`` gives without a cache."""
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    out = model.generate(**inputs, max_new_tokens=6, do_sample=False, use_cache=False)
    text = processor.decode(out[0, inputs['input_ids'].shape[1] :], skip_special_tokens=True).strip()
    return hub.assistant(text)['content']
