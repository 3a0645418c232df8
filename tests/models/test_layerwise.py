"""Recomputing activations, compiling layer by layer, and what a backward pass keeps and runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from mmgpt.models import layerwise
from mmgpt.models import loss as loss_module
from mmgpt.models.adapters import adapter_parameters
from mmgpt.models.layerwise import checkpoint_activations, compile_layers
from mmgpt.models.trainable import set_trainable
from tests.live_bytes import LiveBytes
from tests.models import tiny

KINDS = list(tiny.ROWS)
LORA = dict(type='LoRA', slots=['self_attention', 'cross_attention'], r=2, dropout=0.3)


def adapted(family: str = 'llama', **changes):
    """A model of which only adapters and the resampler are trained; the adapters have left their zero."""
    model = tiny.model(family, adapter=LORA, **changes)
    set_trainable(model, ['resampler'])
    for _, parameter in adapter_parameters(model):
        parameter.requires_grad_(True)
        torch.nn.init.normal_(parameter, std=0.1)
    return model.train()


def step(model, batch) -> tuple[torch.Tensor, dict[str, torch.Tensor], LiveBytes, int]:
    """Loss, gradients, the bytes of the whole step, and those that its forward pass keeps."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with LiveBytes() as live:
        loss = model.compute_loss(batch).loss_sum
        kept = live.now
        loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, live, kept


def assert_same(one, other) -> None:
    assert torch.equal(one[0], other[0])
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


# ---- recomputing


@pytest.mark.parametrize(
    ('family', 'make', 'packed'),
    [
        ('llama', tiny.model, False),
        ('llama', adapted, True),
        ('mpt', tiny.model, True),
        ('opt', adapted, False),
        ('granite', tiny.model, False),
    ],
)
def test_recomputing_keeps_less_and_changes_nothing(family, make, packed):
    model = make(family).train()
    batch = tiny.training_batch(KINDS, packed)
    plain = step(model, batch)
    checkpoint_activations(model, every=2)
    some = step(model, batch)
    checkpoint_activations(model)
    every = step(model, batch)
    assert_same(plain, some)
    assert_same(plain, every)
    assert every[3] < some[3] < plain[3]
    assert every[3] < 0.4 * plain[3]
    assert every[2].peak < plain[2].peak


@pytest.mark.parametrize('encoder', ['clip', 'open_clip'])
def test_every_part_is_recomputed(encoder):
    model = tiny.model(**({} if encoder == 'clip' else {'vision_encoder': OPEN_CLIP})).train()
    inside = {
        'vision_encoder': '.self_attn' if encoder == 'clip' else '.attn',
        'resampler': '.0.to_kv',
        'language_model': '.self_attn',
        'gated_blocks': '.to_q',
    }
    runs: dict[str, int] = {}

    def count(name):
        return lambda *_: runs.update({name: runs.get(name, 0) + 1})

    for part, end in inside.items():
        for name, module in getattr(model, part).named_modules():
            if name.endswith(end):
                module.register_forward_hook(count(f'{part}.{name}'))
    checkpoint_activations(model)
    batch = tiny.training_batch(KINDS)
    sums = model.compute_loss(batch)
    assert set(runs.values()) == {1}
    assert {name.split('.')[0] for name in runs} == set(inside)
    sums.loss_sum.backward()
    assert set(runs.values()) == {2}


OPEN_CLIP = dict(
    type='OpenClipVision',
    architecture=dict(
        embed_dim=16, vision_cfg=dict(image_size=tiny.SIZE, layers=2, width=16, head_width=8, patch_size=8)
    ),
)


def test_what_cannot_be_recomputed_is_refused():
    model = tiny.model()
    with pytest.raises(ValueError, match='at least 1, got 0'):
        checkpoint_activations(model, every=0)
    model.decoder.layers[1] = torch.nn.Identity()
    with pytest.raises(ValueError, match=r'layers of LlamaForCausalLM \(Identity\) cannot be recomputed'):
        checkpoint_activations(model)


# ---- what is kept, and how far the backward pass goes


def text(layers: int) -> dict:
    return dict(tiny.TEXT['llama'], model_type='llama', vocab_size=tiny.VOCABULARY, num_hidden_layers=layers)


def tower(layers: int) -> dict:
    config = dict(hidden_size=16, intermediate_size=32, num_attention_heads=2, image_size=tiny.SIZE, patch_size=8)
    return dict(type='ClipVision', config=dict(config, num_hidden_layers=layers))


@pytest.mark.parametrize('recompute', [False, True])
def test_the_backward_pass_ends_at_the_lowest_trained_layer(recompute):
    kept = []
    for below in (1, 5):
        blocks = dict(cross_attn_first_layer=below, cross_attn_every_n_layers=1)
        model = tiny.model(text_config=text(below + 2), **blocks).train()
        set_trainable(model, [f'language_model.model.layers.{below}', 'gated_blocks'])
        if recompute:
            checkpoint_activations(model)
        ran: list[int] = []
        for index, layer in enumerate(model.decoder.layers):
            layer.mlp.register_full_backward_hook(lambda *_, index=index, ran=ran: ran.append(index))
        trained = {p for p in model.parameters() if p.requires_grad}
        loss = model.compute_loss(tiny.training_batch(KINDS)).loss_sum
        assert variables(loss) == trained or recompute  # what is recomputed names its variables when it runs again
        loss.backward()
        assert sorted(ran) == [below, below + 1]
        assert {p for p in model.parameters() if p.grad is not None} == trained
        assert not model.get_input_embeddings().weight.requires_grad
        for layer in model.decoder.layers:
            layer.mlp._backward_hooks.clear()
        kept.append(step(model, tiny.training_batch(KINDS))[3])
    assert kept[0] == kept[1]  # four more frozen layers below keep nothing


@pytest.mark.parametrize('recompute', [False, True])
def test_a_frozen_vision_encoder_keeps_nothing(recompute):
    kept = []
    for layers in (1, 5):
        model = tiny.model(vision_encoder=tower(layers)).train()
        model.vision_encoder.requires_grad_(False)
        if recompute:
            checkpoint_activations(model)
        kept.append(step(model, tiny.training_batch(KINDS))[3])
    assert kept[0] == kept[1]


def variables(loss: torch.Tensor) -> set[torch.Tensor]:
    """The leaves that a loss has a gradient for."""
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(following for following, _ in node.next_functions)
    return {node.variable for node in seen if hasattr(node, 'variable')}


def test_the_loss_needs_no_more_memory_for_a_larger_vocabulary(monkeypatch):
    monkeypatch.setattr(loss_module, 'LOGITS_AT_ONCE', (40_000, 40_000))
    peaks, counts = [], 600
    for vocabulary in (1_000, 10_000):
        head = torch.nn.Linear(16, vocabulary, bias=False).requires_grad_(False)
        states = torch.randn(1, counts + 1, 16, requires_grad=True)
        targets = loss_module.supervised(torch.randint(vocabulary, (1, counts + 1)), None)
        with LiveBytes() as live:
            tokens = torch.tensor(counts)
            sums = loss_module.cross_entropy_sums(targets.predicted_by(states), head, vocabulary, targets, tokens)
            sums.loss_sum.backward()
        peaks.append(live.peak)
        assert live.peak < 6 * 4 * 40_000  # a few times one chunk; all logits at once have 600 to 6,000 thousand
    assert peaks[1] < 1.2 * peaks[0]


# ---- compiling


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()


BATCHES = [  # of changing lengths, numbers of rows and kinds; two of them without any media
    (KINDS, False),
    (KINDS[:3], False),
    (['text', 'text'], False),
    (KINDS[1:] * 2, False),
    (KINDS, True),
    (KINDS[1:] + KINDS[:1], True),
    (['text'], False),
]


def trained(model, batches) -> torch.Tensor:
    """The loss before each step of AdamW."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    torch.manual_seed(0)
    for kinds, packed in batches:
        optimizer.zero_grad()
        sums = model.compute_loss(tiny.training_batch(kinds, packed))
        loss = sums.loss_sum / sums.weight_sum
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def graphs() -> int:
    return counters['stats']['unique_graphs']


@pytest.mark.parametrize(
    ('family', 'make', 'recompute', 'backend'),
    [
        ('llama', adapted, True, 'eager'),
        pytest.param('llama', tiny.model, False, 'eager', marks=pytest.mark.slow),
        pytest.param('mpt', adapted, False, 'eager', marks=pytest.mark.slow),
        pytest.param('opt', tiny.model, True, 'eager', marks=pytest.mark.slow),
        pytest.param('llama', adapted, True, 'inductor', marks=pytest.mark.slow),
    ],
)
def test_compiled_training_equals_plain_training(family, make, recompute, backend):
    plain = without_dropout(make(family).train())
    compiled = copy.deepcopy(plain)
    expected = trained(plain, BATCHES)
    if recompute:
        checkpoint_activations(compiled)
    compile_layers(compiled, backend=backend)
    torch.testing.assert_close(trained(compiled, BATCHES), expected, rtol=1e-4, atol=0)
    made = graphs()
    assert 3 < made <= 16
    trained(compiled, [(KINDS * 3, False), ([*KINDS, 'text'], True), (['image'] * 5, False)])
    assert graphs() <= made + 2  # other lengths need no other graphs


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def test_two_compiled_models_give_their_own_results():
    batch = tiny.training_batch(KINDS)
    for seed in (0, 1):
        for every in (1, 2):
            model = tiny.model(seed=seed, cross_attn_every_n_layers=every).train()
            expected = step(model, batch)
            compile_layers(model, backend='eager')
            assert_same(step(model, batch), expected)


def test_generating_runs_the_plain_layers():
    model = tiny.model()
    compile_layers(model, backend='eager')
    model.generate(**tiny.row('image'), max_new_tokens=2)
    assert graphs() == 0


def test_a_model_without_layers_is_not_silently_left_alone():
    with pytest.raises(ValueError, match='Linear has no repeated layers'):
        compile_layers(torch.nn.Linear(2, 2))


def test_the_parts_are_those_of_the_model():
    assert set(layerwise.PARTS) == {name for name, _ in tiny.model().named_children()}
