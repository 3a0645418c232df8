"""A run starts from a converted checkpoint, whose tokenizer may have other tokens than the run's."""

import json

import pytest
import torch

from mmgpt.data.templates import Otter
from mmgpt.data.tokens import add_special_tokens
from mmgpt.engine.checkpoints import CheckpointError
from mmgpt.engine.weights import load_weights
from mmgpt.hub.io import load_folder
from mmgpt.models.builder import build_model
from tests.hub.convert import published
from tools import convert


@pytest.fixture(scope='module')
def converted(tmp_path_factory):
    """OpenFlamingo's folder: 723 rows, 722 is ``<PAD>``."""
    folder = tmp_path_factory.mktemp('converted')
    lm = published.language_model(folder / 'lm')
    torch.save(published.release_v2('e_mmgpt'), folder / 'checkpoint.pt')
    parts = ['--language-model', str(lm), '--vision-model', str(published.CLIP)]
    assert convert.main(['openflamingo', str(folder / 'checkpoint.pt'), *parts, '--out', str(folder / 'd')]) == 0
    return folder / 'd'


def model_of(folder, **changes):
    """The model of a config around the same language model, with Otter's tokens: 724 rows, 722 is ``<answer>``."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder.parent / 'lm')
    add_special_tokens(tokenizer, Otter())
    architecture = json.loads((published.CLIP / 'tiny-vit.json').read_text())
    cfg = dict(
        vision_encoder=dict(type='OpenClipVision', architecture=architecture),
        resampler=dict(type='PerceiverResampler'),
        language_decoder=dict(weights=str(folder.parent / 'lm')),
        cross_attn_every_n_layers=4,
        without_media='zero_attention',
    )
    model = build_model({**cfg, **changes}, tokenizer, special_tokens=Otter.special_tokens)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize(
    'changes',
    [
        dict(trainable=['resampler', 'gated_blocks'], train_embeddings='new'),
        dict(adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention'], r=2)),
    ],
)
def test_a_config_starts_from_a_converted_folder(converted, changes):
    model, (base, _) = model_of(converted, **changes), load_folder(converted, device='cpu')
    before = model.get_output_embeddings().weight[723].clone()
    load_weights(model, converted, start=True)
    numbers = published.stored('e_mmgpt/cases')
    given = dict(
        input_ids=numbers['image.right.input_ids'],
        attention_mask=numbers['image.right.attention_mask'],
        pixel_values=numbers['image.right.vision_x'],
    )
    ours, theirs = (m(**given).logits for m in (model, base))
    assert ours.shape[-1] == 724
    torch.testing.assert_close(ours[..., :723], theirs)
    assert torch.equal(model.get_output_embeddings().weight[723], before)


def test_only_a_start_takes_another_vocabulary(converted):
    with pytest.raises(
        CheckpointError, match=r'embed_tokens.weight: \(723, 32\) in the file, \(724, 32\) in the model'
    ):
        load_weights(model_of(converted), converted)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(cross_attention=dict(type='GatedCrossAttention', heads=4, head_width=128)), 'heads: 8 in the .*, 4 in'),
        (
            dict(config=dict(num_attention_heads=2, num_key_value_heads=2, head_dim=16)),
            'num_attention_heads: 4 in the file, 2 in the model',
        ),
    ],
)
def test_settings_that_change_no_shape_are_compared(converted, changes, message):
    if lm := changes.pop('config', None):
        changes = dict(language_decoder=dict(weights=str(converted.parent / 'lm'), config=lm))
    with pytest.raises(CheckpointError, match=message):
        load_weights(model_of(converted, **changes), converted, start=True)


def test_what_new_weights_would_begin_with_is_not_compared(converted, tmp_path):
    theirs = model_of(converted, cross_attention=dict(type='GatedCrossAttention', initial_gate=0.5))
    theirs.save_pretrained(tmp_path)
    ours = model_of(converted, cross_attention=dict(type='GatedCrossAttention', initial_gate=1.5))
    load_weights(ours, tmp_path, start=True)
    assert ours.gated_blocks['3'].attn_gate.item() == 0.5


def test_another_mark_is_refused(converted):
    model = model_of(converted)
    model.config.media_token_id = 722
    with pytest.raises(CheckpointError, match='<image> has the id 721'):
        load_weights(model, converted, start=True)
