"""Compiled decoding with a static cache says what the plain model says."""

import pytest
import torch
from transformers import CompileConfig

from tests.models import tiny

# the graphs are captured and guarded as ever, and run without compiling them, which takes a minute
CAPTURED = CompileConfig(backend='eager', fullgraph=False, dynamic=False, mode=None)
CAPTURED._compile_all_devices = True
ARGUMENTS = dict(max_new_tokens=6, eos_token_id=None, pad_token_id=tiny.PAD, do_sample=False)


@pytest.mark.parametrize('family', ['llama', 'mpt'])
def test_two_compiled_models_in_one_process(family):
    torch._dynamo.reset()
    for model in (
        tiny.model(family),
        tiny.model(family, seed=5),
        tiny.model(family, seed=6, cross_attn_every_n_layers=1),
    ):
        for batch in (
            tiny.row('several images'),
            tiny.row('text'),
            tiny.padded([tiny.row(kind) for kind in tiny.ROWS]),
        ):
            expected = model.generate(**batch, **ARGUMENTS)
            compiled = model.generate(**batch, **ARGUMENTS, cache_implementation='static', compile_config=CAPTURED)
            assert torch.equal(compiled, expected)
    captured = torch._dynamo.utils.counters
    assert captured['stats']['unique_graphs'] > 1
    if family == 'llama':  # MPT is captured in pieces
        assert not captured['graph_break']
