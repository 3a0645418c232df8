"""Language models in fewer bits: what is kept, what stays close, and adapters trained on top."""

import copy

import pytest
import torch

from mmgpt.models import adapter_files, adapters
from mmgpt.models.adapters import LoRA
from mmgpt.models.quantization import quantization_config
from tests.models import tiny

WIDE = dict(  # 4-bit weights come in blocks of 64 on CPUs
    model_type='llama', vocab_size=tiny.VOCABULARY, hidden_size=128, num_hidden_layers=2, num_attention_heads=4,
    intermediate_size=128, bos_token_id=1, eos_token_id=2, initializer_range=0.1,
)  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('whole')
    tiny.model('llama', text_config=WIDE).save_pretrained(folder)
    return folder


def load(folder, **how):
    from mmgpt.models.flamingo import Flamingo

    return Flamingo.from_pretrained(folder, **how).eval()


@pytest.mark.parametrize('bits', [8, 4])
def test_adapters_train_on_a_quantised_model_and_go_with_the_whole_one(folder, bits, tmp_path):
    pytest.importorskip('bitsandbytes', reason='pip install "mmgpt[quantization]" brings bitsandbytes')
    whole = load(folder)
    model = load(folder, quantization_config=quantization_config(bits, torch.float32))
    layer = model.decoder.layers[0].self_attn.q_proj
    assert layer.weight.dtype in (torch.int8, torch.uint8)
    for part in (model.vision_encoder, model.resampler, model.gated_blocks, model.get_output_embeddings()):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}
    inputs = tiny.row('image')
    with torch.no_grad():
        expected, got = whole(**inputs).logits, model(**inputs).logits
        assert 0 < (got - expected).norm() / expected.norm() < (0.05 if bits == 8 else 0.3)

    LoRA(slots=['self_attention', 'cross_attention'], r=2).inject(model)
    trained = [parameter for _, parameter in adapters.adapter_parameters(model)]
    optimizer = torch.optim.AdamW(trained, lr=1e-2)
    losses = []
    for _ in range(4):
        loss = model(**inputs, labels=inputs['input_ids']).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    adapter_files.save_adapter(model, tmp_path)
    tuned = copy.deepcopy(whole)
    tuned.load_adapter(tmp_path)
    with torch.no_grad():
        before, after = (m(**inputs, labels=inputs['input_ids']).loss for m in (whole, tuned))
    assert after < before


def test_what_is_missing_is_told(monkeypatch):
    with pytest.raises(ValueError, match='8 or 4 bits, got 3'):
        quantization_config(3)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "mmgpt\[quantization\]"'):
        quantization_config(4)
