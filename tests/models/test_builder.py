import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mmgpt.models import Flamingo, build_model
from mmgpt.models.trainable import set_trainable
from mmgpt.registry import RESAMPLERS
from tests.models import tiny

SPECIAL = ['<|endofchunk|>', '<image>', '<answer>']
EQUAL = dict(atol=2e-5, rtol=1e-4)


def config(family='llama', **changes) -> dict:
    text = dict(tiny.TEXT[family], model_type=family)
    vision = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    return {
        'type': 'Flamingo',
        'vision_encoder': dict(type='ClipVision', config=dict(**vision, image_size=tiny.SIZE, patch_size=8)),
        'resampler': dict(type='PerceiverResampler', depth=1, num_latents=3, heads=2, head_width=8),
        'language_decoder': dict(type='MPT' if family == 'mpt' else 'CausalLM', config=text),
        'cross_attention': dict(type='GatedCrossAttention', heads=2, head_width=8),
        'cross_attn_every_n_layers': 2,
    } | changes


def build(cfg, tokenizer, **kwargs):
    return build_model(cfg, tokenizer, stop_token='<|endofchunk|>', special_tokens=SPECIAL, **kwargs)


def trained(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def inputs(tokenizer) -> dict:
    ids = tokenizer('<image>What digit<|endofchunk|>', return_tensors='pt')['input_ids']
    return dict(input_ids=ids, pixel_values=torch.ones(1, 1, 1, 3, tiny.SIZE, tiny.SIZE))


@pytest.fixture
def lm_folder(request, tmp_path, tokenizer):
    """The weights of a language model that was trained before Otter's tokens were added."""
    lm = tiny.model(request.param).language_model
    lm.resize_token_embeddings(len(tokenizer) - 5, mean_resizing=False)
    lm.save_pretrained(tmp_path / 'lm')
    return tmp_path / 'lm'


families = pytest.mark.parametrize('lm_folder', tiny.FAMILIES, indirect=True)


def with_weights(folder, **changes) -> dict:
    family = AutoConfig.from_pretrained(folder).model_type
    decoder = dict(type='MPT' if family == 'mpt' else 'CausalLM', weights=str(folder))
    return config(language_decoder=decoder, **changes)


def test_tokens_and_generation_settings_come_from_the_tokenizer(tokenizer):
    model = build(config(), tokenizer)
    ids = tokenizer.convert_tokens_to_ids
    assert model.config.media_token_id == ids('<image>')
    assert model.config.text_config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == [ids('<|endofchunk|>'), tokenizer.eos_token_id]
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    out = model.generate(**inputs(tokenizer), max_new_tokens=3)
    assert out.shape[1] > inputs(tokenizer)['input_ids'].shape[1]


@families
def test_weights_of_a_language_model_are_loaded_and_its_embedding_grows(lm_folder, tokenizer):
    lm = AutoModelForCausalLM.from_pretrained(lm_folder)
    model = build(with_weights(lm_folder), tokenizer)
    old = lm.get_input_embeddings().weight
    assert model.get_input_embeddings().num_embeddings == len(tokenizer) > len(old)
    assert torch.equal(model.get_input_embeddings().weight[: len(old)], old)
    layer = dict(lm.named_parameters())
    for name, parameter in model.language_model.named_parameters():
        if parameter.shape == layer[name].shape:
            assert torch.equal(parameter, layer[name])


@families
def test_a_language_model_in_half_precision_beside_float32_parts(lm_folder, tokenizer):
    decoder = dict(with_weights(lm_folder)['language_decoder'], dtype='bfloat16')
    model = build(config(language_decoder=decoder), tokenizer).eval()
    assert {p.dtype for p in model.language_model.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.gated_blocks.parameters()} == {torch.float32}
    assert model(**inputs(tokenizer)).logits.dtype == torch.bfloat16


def test_an_embedding_never_shrinks(tokenizer, tmp_path):
    lm = tiny.model('llama').language_model
    lm.resize_token_embeddings(len(tokenizer) + 100, mean_resizing=False)
    lm.save_pretrained(tmp_path)
    assert build(with_weights(tmp_path), tokenizer).get_input_embeddings().num_embeddings == len(tokenizer) + 100


@pytest.mark.parametrize('lm_folder', ['llama'], indirect=True)
def test_a_config_beside_weights_says_what_they_are(lm_folder, tokenizer):
    cfg = with_weights(lm_folder)
    plain = build(cfg, tokenizer)
    said = plain.config.text_config.to_dict()
    inline = {name: said[name] for name in ('model_type', 'hidden_size', 'num_hidden_layers')}
    decoder = dict(cfg['language_decoder'], config=inline)
    model = build({**cfg, 'language_decoder': decoder}, tokenizer)
    assert model.state_dict().keys() == plain.state_dict().keys()
    with pytest.raises(ValueError, match=f"'opt'.*are of '{inline['model_type']}'"):
        build({**cfg, 'language_decoder': dict(decoder, config=dict(model_type='opt'))}, tokenizer)


def test_missing_weights_say_which_part_and_what_to_do(tokenizer, tmp_path):
    with pytest.raises(OSError, match=r'model\.language_decoder cannot be loaded(.|\n)*Give a folder'):
        build(config(language_decoder=dict(type='CausalLM', weights=str(tmp_path / 'no'))), tokenizer)
    vision = dict(config()['vision_encoder'], weights=str(tmp_path / 'no'))
    with pytest.raises(OSError, match=r'model\.vision_encoder cannot be loaded'):
        build(config(vision_encoder=vision), tokenizer)


def test_weights_that_lack_a_tensor_or_are_cut_are_refused(tokenizer, tmp_path):
    lm = AutoModelForCausalLM.from_config(AutoConfig.for_model('llama', **tiny.TEXT['llama']))
    state = {name: value for name, value in lm.state_dict().items() if 'layers.0.mlp.up_proj' not in name}
    lm.save_pretrained(tmp_path, state_dict=state)
    decoder = {'language_decoder': dict(weights=str(tmp_path))}
    with pytest.raises(ValueError, match=r'language_decoder are not whole.*missing model\.layers\.0\.mlp\.up_proj'):
        build(config(**decoder), tokenizer)
    lm.save_pretrained(tmp_path)
    wider = dict(**decoder['language_decoder'], config=dict(intermediate_size=7))
    with pytest.raises(ValueError, match=r'gate_proj\.weight is \(\d+, \d+\), not \(7, \d+\)'):
        build(config(language_decoder=wider), tokenizer)
    file = tmp_path / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match=r'of model\.language_decoder cannot be loaded'):
        build(config(**decoder), tokenizer)


def test_a_tokenizer_without_the_special_tokens_is_refused(tokenizer):
    with pytest.raises(ValueError, match="has no token '<pause>'"):
        build_model(config(), tokenizer, special_tokens=['<pause>'])


@pytest.mark.parametrize('value', ['some', True])
def test_wrong_settings_are_named(tokenizer, value):
    with pytest.raises(ValueError, match='train_embeddings must be'):
        build(config(train_embeddings=value), tokenizer)
    with pytest.raises(ValueError, match='without_media must be'):
        build(config(without_media=value), tokenizer)
    with pytest.raises(ValueError, match="all_next, got 'nearest'"):
        build(config(attend='nearest'), tokenizer)
    with pytest.raises(ValueError, match='leaves no block in 4 layers'):
        build(config(cross_attn_every_n_layers=5), tokenizer)
    with pytest.raises(KeyError, match="did you mean 'PerceiverResampler'"):
        build(config(resampler=dict(type='PerceiverResampeler')), tokenizer)


def test_trainable_patterns(tokenizer):
    everything = trained(build(config(), tokenizer))
    for pattern in ('resampler', 'resampler.*'):
        assert trained(build(config(trainable=[pattern]), tokenizer)) == {
            n for n in everything if n.startswith('resampler.')
        }
    gates = trained(build(config(trainable=['gated_blocks.*_gate']), tokenizer))
    assert gates == {n for n in everything if n.endswith('_gate')}
    assert len(gates) == 4
    assert not trained(build(config(trainable=[]), tokenizer))


def test_patterns_that_match_nothing_are_all_named_with_a_suggestion():
    model = tiny.model()
    before = trained(model)
    with pytest.raises(
        ValueError, match=r"'resamplr' \(did you mean 'resampler'.*'gated_block'.*consists of vision_enc"
    ):
        set_trainable(model, ['resampler', 'resamplr', 'gated_block'])
    assert trained(model) == before


@families
def test_all_embeddings(lm_folder, tokenizer):
    model = build(with_weights(lm_folder, trainable=[], train_embeddings='all'), tokenizer)
    embed, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(embed), id(head)}


@families
def test_only_the_rows_of_new_tokens_are_trained(lm_folder, tokenizer):
    torch.manual_seed(0)
    model = build(with_weights(lm_folder, trainable=['resampler'], train_embeddings='new'), tokenizer)
    plain = {name: value.clone() for name, value in model.state_dict().items()}
    assert not [name for name in plain if 'new_token' in name]  # the key space stays canonical
    new = list(range(len(tokenizer) - 5, len(tokenizer)))
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    sizes = [p.numel() for n, p in model.named_parameters() if p.requires_grad and not n.startswith('resampler')]
    assert sizes == [5 * 32] * (1 if tied else 2)

    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    ids = torch.tensor([[1, model.config.media_token_id, 5, new[0], 6, new[1]]])
    batch = dict(
        input_ids=ids,
        labels=ids.masked_fill(ids == model.config.media_token_id, -100),
        frames=torch.randint(0, 256, (1, 3, tiny.SIZE, tiny.SIZE), dtype=torch.uint8),
        media_frames=torch.zeros(1, 1, 1, dtype=torch.long),
    )
    before = model.compute_loss(batch).loss_sum
    before.backward()
    assert model.get_input_embeddings().weight.grad is None
    optimizer.step()
    trained_state = model.state_dict()
    changed = {name for name in plain if not torch.equal(plain[name], trained_state[name])}
    embeddings = {name for name in changed if not name.startswith('resampler.')}
    assert {name for name in plain if 'embed_tokens' in name or 'wte' in name} <= embeddings
    for name in embeddings:
        rows = (plain[name] != trained_state[name]).any(1).nonzero().flatten().tolist()
        assert set(rows) <= set(new)
        assert new[0] in rows


@families
def test_new_rows_are_folded_in_on_save_and_taken_up_again(lm_folder, tokenizer, tmp_path):
    cfg = with_weights(lm_folder, train_embeddings='new')
    model = build(cfg, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.new_token_rows.parameters():
            parameter.add_(torch.randn_like(parameter))
        expected = model(**inputs(tokenizer)).logits
        model.save_pretrained(tmp_path / 'saved')
        plain = Flamingo.from_pretrained(tmp_path / 'saved').eval()
        assert not hasattr(plain, 'new_token_rows')
        torch.testing.assert_close(plain(**inputs(tokenizer)).logits, expected, **EQUAL)
        again = build(cfg, tokenizer).eval()
        assert not torch.allclose(again(**inputs(tokenizer)).logits, expected, atol=1e-3)
        again.load_state_dict(plain.state_dict())
        torch.testing.assert_close(again(**inputs(tokenizer)).logits, expected, **EQUAL)
        for one, other in zip(again.new_token_rows.parameters(), model.new_token_rows.parameters()):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize('family', tiny.FAMILIES)
def test_a_saved_model_loads_and_computes_the_same(family, tmp_path):
    model = tiny.model(family, attend='all_previous', without_media='zero_attention')
    model.save_pretrained(tmp_path)
    loaded = Flamingo.from_pretrained(tmp_path).eval()
    for name in ('vision_encoder', 'resampler', 'cross_attention', 'language_decoder', 'attend', 'without_media'):
        assert getattr(loaded.config, name) == getattr(model.config, name)
    for kind in tiny.ROWS:
        one = tiny.row(kind)
        torch.testing.assert_close(loaded(**one).logits, model(**one).logits)
    children = {name.split('.')[0] for name in model.state_dict()}
    assert children == {'vision_encoder', 'resampler', 'language_model', 'gated_blocks'}
    own = {name.removeprefix('language_model.') for name in model.state_dict() if name.startswith('language_model.')}
    assert own == set(model.language_model.state_dict())


def test_loading_is_strict(tmp_path):
    model = tiny.model()
    state = model.state_dict()
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in state.items() if k != 'gated_blocks.1.attn_gate'})
    with pytest.raises(ValueError, match=r'missing: gated_blocks\.1\.attn_gate'):
        Flamingo.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path, state_dict={**state, 'resampler.extra': torch.zeros(1)})
    with pytest.raises(ValueError, match=r'unexpected: resampler\.extra'):
        Flamingo.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path, state_dict={**state, 'resampler.latents': torch.zeros(2, 5)})
    with pytest.raises(ValueError, match=r'resampler\.latents: \(2, 5\) in the file, \(\d+, \d+\) in the model'):
        Flamingo.from_pretrained(tmp_path)
    file = tmp_path / 'model.safetensors'
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match='are damaged'):
        Flamingo.from_pretrained(tmp_path)


def test_a_plugin_is_named_by_a_saved_model_and_never_imported(tmp_path, tokenizer):
    class MeanPool(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width, self.num_latents = width, 1

        def forward(self, features, frame_mask=None, media_index=None):
            return features.mean((1, 2)).unsqueeze(1)

    MeanPool.__module__ = 'my_plugin.pools'
    RESAMPLERS.register_module(module=MeanPool)
    try:
        model = build(config(resampler=dict(type='MeanPool')), tokenizer)
        model.save_pretrained(tmp_path)
        Flamingo.from_pretrained(tmp_path)
    finally:
        del RESAMPLERS.module_dict['MeanPool']
    with pytest.raises(ImportError, match=r"'MeanPool' is a plugin.*import my_plugin\.pools"):
        Flamingo.from_pretrained(tmp_path)
