"""Models of other families and sizes, drawn at random and written in the published layouts, compute the same here.

The names of the layouts are written out below, and what a checkpoint computes is written down once more from the
papers' formulas, around the bare language model and vision tower of transformers.
"""

import copy
import json
import random
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    GPTNeoXConfig,
    LlamaConfig,
    MptConfig,
    OPTConfig,
)

HEADS, HEAD_WIDTH = 8, 64  # of every published model
NAMES = {  # family: layers, embedding, head where it is apart
    'llama': ('model.layers', 'model.embed_tokens', 'lm_head'),
    'mpt': ('transformer.blocks', 'transformer.wte', None),
    'gpt_neox': ('gpt_neox.layers', 'gpt_neox.embed_in', 'embed_out'),
    'opt': ('model.decoder.layers', 'model.decoder.embed_tokens', None),
}


def config(family, width, depth, rows):
    ids = dict(vocab_size=rows, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    plain = dict(hidden_size=width, num_hidden_layers=depth, num_attention_heads=4, intermediate_size=24)
    match family:
        case 'llama':
            return LlamaConfig(**plain, **ids)
        case 'mpt':
            return MptConfig(d_model=width, n_layers=depth, n_heads=4, expansion_ratio=2, max_seq_len=64, **ids)
        case 'gpt_neox':
            return GPTNeoXConfig(**plain, **ids)
        case 'opt':
            return OPTConfig(**plain, ffn_dim=24, word_embed_proj_dim=width, dropout=0.0, **ids)


def normal(*shape):
    return torch.randn(shape) * 0.2


def resampler(width, depth, latents, frames):
    """Tensors of the resampler, by OpenFlamingo's names without ``perceiver.``."""
    state = {'latents': normal(latents, width), 'norm.weight': 1 + normal(width), 'norm.bias': normal(width)}
    if frames:
        state['frame_embs'] = normal(frames, width)
    for i in range(depth):
        for norm in ('norm_media', 'norm_latents'):
            state |= {f'layers.{i}.0.{norm}.weight': 1 + normal(width), f'layers.{i}.0.{norm}.bias': normal(width)}
        inner = HEADS * HEAD_WIDTH
        state |= {
            f'layers.{i}.0.to_q.weight': normal(inner, width),
            f'layers.{i}.0.to_kv.weight': normal(2 * inner, width),
        }
        state |= {f'layers.{i}.0.to_out.weight': normal(width, inner), f'layers.{i}.1.0.weight': 1 + normal(width)}
        state |= {f'layers.{i}.1.0.bias': normal(width), f'layers.{i}.1.1.weight': normal(4 * width, width)}
        state |= {f'layers.{i}.1.3.weight': normal(width, 4 * width)}
    return state


def block(width, media_width):
    """Tensors of a gated block, by OpenFlamingo's names."""
    inner = HEADS * HEAD_WIDTH
    return {
        'attn_gate': torch.randn(1),
        'ff_gate': torch.randn(1),
        'attn.norm.weight': 1 + normal(width),
        'attn.norm.bias': normal(width),
        'attn.to_q.weight': normal(inner, width),
        'attn.to_kv.weight': normal(2 * inner, media_width),
        'attn.to_out.weight': normal(width, inner),
        'ff.0.weight': 1 + normal(width),
        'ff.0.bias': normal(width),
        'ff.1.weight': normal(4 * width, width),
        'ff.3.weight': normal(width, 4 * width),
    }


def drawn(family, seed, tokenizer_dir, folder):
    """A model's parts on disk as its makers had them, and its tensors."""
    rng = random.Random(f'{family} {seed}')
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    base_rows = len(tokenizer) + rng.choice([0, 11])  # some language models have more rows than tokens
    added = 2 + (tokenizer.pad_token is None)
    every, depth = rng.choice([(1, 2), (2, 5), (3, 3), (2, 4)])
    width, vision_width = rng.choice([16, 24, 32]), rng.choice([16, 24])
    lm = AutoModelForCausalLM.from_config(config(family, width, depth, base_rows)).eval()
    for parameter in lm.parameters():
        parameter.data = normal(*parameter.shape) + (parameter.ndim == 1)
    lm.tie_weights()
    lm.save_pretrained(folder / 'lm')
    tokenizer.save_pretrained(folder / 'lm')
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=vision_width,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
    ).eval()
    tower.save_pretrained(folder / 'clip')
    rows = len(tokenizer) + added
    embedding = torch.cat([lm.get_input_embeddings().weight.detach()[: rows - added], normal(added, width)])
    return SimpleNamespace(
        **dict(family=family, every=every, lm=lm, tower=tower, tokenizer=tokenizer, embedding=embedding, folder=folder),
        resampler=resampler(vision_width, rng.choice([1, 3]), rng.choice([4, 7]), frames=None),
        blocks={i: block(width, vision_width) for i in range(every - 1, depth, every)},
        image=len(tokenizer) + 1,  # <|endofchunk|> is added before it
        rng=rng,
    )


def attend(x, media, p):
    q, (k, v) = x @ p['to_q.weight'].T, (media @ p['to_kv.weight'].T).chunk(2, -1)
    q, k, v = (t.unflatten(-1, (HEADS, HEAD_WIDTH)).transpose(0, 1) for t in (q, k, v))
    return (F.softmax(q @ k.mT * HEAD_WIDTH**-0.5, -1) @ v).transpose(0, 1).flatten(1) @ p['to_out.weight'].T


def feed_forward(x, p):
    x = F.layer_norm(x, x.shape[-1:], p['0.weight'], p['0.bias'])
    return F.gelu(x @ p['1.weight'].T) @ p['3.weight'].T


def below(state, prefix):
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


@torch.no_grad()
def published_logits(m, ids, frames):
    """What the checkpoint computes for one row with one medium of these frames (F, 3, H, W)."""
    features = m.tower(pixel_values=frames).last_hidden_state[:, 1:]
    if 'frame_embs' in m.resampler:
        features = features + m.resampler['frame_embs'][: len(frames), None]
    x, latents = features.flatten(0, 1), m.resampler['latents']
    for i in range(len({key.split('.')[1] for key in m.resampler if key.startswith('layers.')})):
        p = below(m.resampler, f'layers.{i}.0.')
        normed = [
            F.layer_norm(t, t.shape[-1:], p[f'{name}.weight'], p[f'{name}.bias'])
            for t, name in ((x, 'norm_media'), (latents, 'norm_latents'))
        ]
        latents = latents + attend(normed[1], torch.cat(normed), p)
        latents = latents + feed_forward(latents, below(m.resampler, f'layers.{i}.1.'))
    latents = F.layer_norm(latents, latents.shape[-1:], m.resampler['norm.weight'], m.resampler['norm.bias'])
    lm = copy.deepcopy(m.lm)
    lm.resize_token_embeddings(len(m.embedding), mean_resizing=False)
    lm.get_input_embeddings().weight.copy_(m.embedding)
    sees = (ids[0] == m.image).cumsum(0)[:, None] > 0

    def through(p):
        def hook(module, args, kwargs):
            x = args[0][0]
            a = below(p, 'attn.')
            found = attend(F.layer_norm(x, x.shape[-1:], a['norm.weight'], a['norm.bias']), latents, a)
            x = x + p['attn_gate'].tanh() * torch.where(sees, found, 0)
            x = x + p['ff_gate'].tanh() * feed_forward(x, below(p, 'ff.'))
            return (x[None], *args[1:]), kwargs

        return hook

    layers = lm.get_submodule(NAMES[m.family][0])
    for i, p in m.blocks.items():
        layers[i].register_forward_pre_hook(through(p), with_kwargs=True)
    return lm(input_ids=ids).logits


def assert_same(folder, m, frames=1, known=None):
    """The converted model gives the logits of the checkpoint, at least those of the tokens that the head knew."""
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    AutoProcessor.from_pretrained(folder)
    ids = torch.randint(3, len(m.tokenizer), (1, 12))
    ids[0, 4] = m.image
    pixels = torch.randn(frames, 3, 16, 16)
    with torch.no_grad():
        ours = model(input_ids=ids, pixel_values=pixels[None, None]).logits
    theirs = published_logits(m, ids, pixels)
    known = known or min(theirs.shape[-1], m.lm.config.vocab_size)
    torch.testing.assert_close(ours[..., :known], theirs[..., :known], atol=2e-5, rtol=2e-5)
    return model


def open_flamingo_state(m, form):
    layers, embedding, _ = NAMES[m.family]
    state = {f'perceiver.{key}': value for key, value in m.resampler.items()}
    state[f'lang_encoder.{embedding}.weight'] = m.embedding
    for i, p in m.blocks.items():
        for key, value in p.items():
            state[f'lang_encoder.{layers}.{i}.gated_cross_attn_layer.{key}'] = value
            if form == 'aliases':
                state[f'lang_encoder.gated_cross_attn_layers.{i}.{key}'] = value
    if form == 'training':
        return {'epoch': 1, 'model_state_dict': {f'module.{key}': value for key, value in state.items()}}
    return state


@pytest.mark.parametrize('form', ['plain', 'aliases', 'training'])
@pytest.mark.parametrize('family', NAMES)
def test_openflamingo(run, llama_tokenizer_dir, gpt2_tokenizer_dir, tmp_path, family, form):
    words = llama_tokenizer_dir if family == 'llama' else gpt2_tokenizer_dir
    m = drawn(family, hash_of(form), words, tmp_path)
    torch.save(open_flamingo_state(m, form), tmp_path / 'checkpoint.pt')
    parts = ('--language-model', tmp_path / 'lm', '--vision-model', tmp_path / 'clip')
    every = ('--cross-attn-every-n-layers', m.every) if form == 'training' else ()
    assert run('openflamingo', tmp_path / 'checkpoint.pt', *parts, *every, '--out', tmp_path / 'd') == 0
    model = assert_same(tmp_path / 'd', m)
    assert list(model.gated_blocks) == [str(i) for i in m.blocks]
    processor = AutoProcessor.from_pretrained(tmp_path / 'd')
    assert processor.pad_token_id != processor.tokenizer.eos_token_id
    assert processor.pad_token_id < model.get_input_embeddings().num_embeddings
    adds = AutoTokenizer.from_pretrained(words)('a')['input_ids'][0] == processor.tokenizer.bos_token_id
    assert processor.prompter.template.bos == adds


def hash_of(text):
    return sum(map(ord, text))


def otter_state(m, head):
    """All weights by Otter's names."""
    layers, embedding, head_name = NAMES[m.family]
    state = {f'vision_encoder.vision_model.{key}': value for key, value in m.tower.state_dict().items()}
    state['vision_encoder.vision_model.embeddings.position_ids'] = torch.arange(5)[None]
    for key, value in m.resampler.items():
        parts = key.split('.')
        if parts[0] == 'layers':
            place = [] if parts[2] == '0' else ['feed_forward']
            key = '.'.join([*parts[:2], *place, *parts[3:]])
        state[f'perceiver.{key}'] = value
    for key, value in m.lm.state_dict().items():
        if key.startswith(f'{layers}.'):
            number, _, rest = key.removeprefix(f'{layers}.').partition('.')
            key = f'{layers}.{number}.decoder_layer.{rest}'
        state[f'lang_encoder.{key}'] = value
    state[f'lang_encoder.{embedding}.weight'] = m.embedding
    state.pop('lang_encoder.lm_head.weight', None)
    if head_name:
        state[f'lang_encoder.{head_name}.weight'] = head
    for i, p in m.blocks.items():
        for key, value in p.items():
            name = key.replace('ff.', 'feed_forward.') if key.startswith('ff.') else key
            state[f'lang_encoder.{layers}.{i}.gated_cross_attn_layer.{name}'] = value
    return state


MOSAIC = {  # what MPT's own code writes besides the sizes
    'attn_config': {
        'alibi': True,
        'alibi_bias_max': 8,
        'attn_impl': 'torch',
        'attn_pdrop': 0,
        'attn_type': 'multihead_attention',
        'attn_uses_sequence_id': False,
        'clip_qkv': None,
        'prefix_lm': False,
        'qk_ln': False,
        'softmax_scale': None,
    },
    'emb_pdrop': 0,
    'init_config': {'name': 'kaiming_normal_', 'init_nonlinearity': 'relu', 'verbose': 0},
    'no_bias': True,
    'norm_type': 'low_precision_layernorm',
    'resid_pdrop': 0,
    'tokenizer_name': 'EleutherAI/gpt-neox-20b',
    'verbose': 0,
    'torch_dtype': 'float32',
}


@pytest.mark.parametrize('frames', [None, 6])
@pytest.mark.parametrize('family', ['llama', 'mpt'])
def test_otter(run, llama_tokenizer_dir, gpt2_tokenizer_dir, tmp_path, family, frames):
    m = drawn(family, 5 if frames else 6, llama_tokenizer_dir if family == 'llama' else gpt2_tokenizer_dir, tmp_path)
    if frames:
        m.resampler['frame_embs'] = normal(frames, m.tower.config.hidden_size)
    rows = len(m.tokenizer) + 4 + 7  # Otter's MPT has rows for no token
    m.embedding = torch.cat([m.embedding, normal(rows - len(m.embedding), m.embedding.shape[1])])
    head = normal(*m.embedding.shape)
    text = m.lm.config.to_dict()
    names = ('hidden_size', 'intermediate_size', 'num_hidden_layers', 'num_attention_heads', 'rms_norm_eps')
    if family == 'mpt':
        names = ('d_model', 'n_layers', 'n_heads', 'expansion_ratio', 'max_seq_len')
    fields = {name: text[name] for name in names}
    architecture = {'llama': 'LlamaForCausalLM', 'mpt': 'MPTForCausalLM'}[family]
    fields |= {'architectures': [architecture], '_name_or_path': str(tmp_path / 'lm'), 'vocab_size': rows}
    settings = {
        'model_type': 'otter',
        'cross_attn_every_n_layers': m.every,
        'max_num_frames': frames,
        'text_config': {**fields, **(MOSAIC if family == 'mpt' else {})},
        'vision_config': m.tower.config.to_dict(),
    }
    (tmp_path / 'otter').mkdir()
    (tmp_path / 'otter/config.json').write_text(json.dumps(settings))
    torch.save(otter_state(m, head), tmp_path / 'otter/pytorch_model.bin')
    assert run('otter', tmp_path / 'otter', '--out', tmp_path / 'd') == 0
    if family == 'llama':
        m.lm.resize_token_embeddings(rows)
        m.lm.get_output_embeddings().weight.data = head
    model = assert_same(tmp_path / 'd', m, frames=frames or 1, known=rows)
    assert model.config.resampler['max_frames'] == frames
    processor = AutoProcessor.from_pretrained(tmp_path / 'd')
    added = len(m.tokenizer)
    assert processor.tokenizer.convert_tokens_to_ids(['<|endofchunk|>', '<image>', '<answer>']) == [
        *range(added, added + 3)
    ]


TARGETS = {
    'llama': ['self_attn.q_proj', 'self_attn.v_proj', 'mlp.down_proj'],
    'mpt': ['attn.Wqkv'],
}


@pytest.mark.parametrize(
    ('family', 'gated'), [('llama', ['attn.to_q']), ('mpt', ['attn.to_kv', 'ff.1', 'ff.3']), ('mpt', [])]
)
def test_multimodal_gpt_with_other_targets_and_ranks(
    run, llama_tokenizer_dir, gpt2_tokenizer_dir, tmp_path, family, gated
):
    m = drawn(family, 8, llama_tokenizer_dir if family == 'llama' else gpt2_tokenizer_dir, tmp_path)
    torch.save(open_flamingo_state(m, 'plain'), tmp_path / 'checkpoint.pt')
    parts = ('--language-model', tmp_path / 'lm', '--vision-model', tmp_path / 'clip')
    assert run('openflamingo', tmp_path / 'checkpoint.pt', *parts, '--out', tmp_path / 'base') == 0
    layers, rank, alpha = NAMES[family][0], 3, 12
    state = {}
    for i, layer in enumerate(m.lm.get_submodule(layers)):
        for target in TARGETS[family]:
            weight = layer.get_submodule(target).weight
            a, b = normal(rank, weight.shape[1]), normal(weight.shape[0], rank)
            weight.data += alpha / rank * (b @ a)
            name = f'lang_encoder.base_model.model.{layers}.{i}.decoder_layer.{target}'
            state |= {f'{name}.lora_A.weight': a, f'{name}.lora_B.weight': b}
    for i, p in m.blocks.items():
        for target in gated:
            weight = p[f'{target}.weight']
            a, b = normal(rank, weight.shape[1]), normal(weight.shape[0], rank)
            p[f'{target}.weight'] = weight + alpha / rank * (b @ a)
            name = f'lang_encoder.base_model.model.{layers}.{i}.gated_cross_attn_layer.{target}'
            state |= {f'{name}.lora_A.weight': a, f'{name}.lora_B.weight': b}
        if gated:  # trained besides the adapter: the settings' ``unfrozen``
            p['attn_gate'] = torch.randn(1)
            state[f'lang_encoder.base_model.model.{layers}.{i}.gated_cross_attn_layer.attn_gate'] = p['attn_gate']
    settings = {'lora': True, 'lora_r': rank, 'lora_alpha': alpha, 'lora_dropout': 0.05}
    torch.save({'model_state_dict': state, 'tuning_config': {'tuning_config': settings}}, tmp_path / 'lora.pt')
    options = ['--base', tmp_path / 'base', '--attend', 'previous', '--out', tmp_path / 'd']
    assert run('multimodal-gpt', tmp_path / 'lora.pt', *options, *(['--merge'] if not gated else [])) == 0
    assert_same(tmp_path / 'd', m)
