"""Vision towers and language models in all the forms in which one can name them."""

import json
import shutil

import open_clip
import pytest
import tokenizers
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, Dinov2Config, Dinov2Model, SiglipVisionConfig, SiglipVisionModel

from mmgpt.data.templates import Otter
from mmgpt.hub.convert import parts
from mmgpt.hub.convert.parts import load_language_model, load_tokenizer, load_vision_tower
from mmgpt.hub.convert.report import ConversionError
from mmgpt.registry import VISION_ENCODERS
from tests.hub.convert import published

SHAPE = dict(
    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
)


def tiny_open_clip():
    architecture = json.loads((published.CLIP / 'tiny-vit.json').read_text())
    fields = {key: architecture[key] for key in ('embed_dim', 'vision_cfg', 'text_cfg', 'quick_gelu')}
    return fields, open_clip.CLIP(**fields)


@pytest.mark.parametrize('form', ['own config', 'hub', 'whole model'])
def test_a_folder_of_open_clip(tmp_path, form):
    fields, model = tiny_open_clip()
    if form == 'hub':
        settings = {'model_cfg': fields, 'preprocess_cfg': {'mean': [0.1, 0.2, 0.3], 'std': [0.4, 0.5, 0.6]}}
        (tmp_path / 'open_clip_config.json').write_text(json.dumps(settings))
        save_file(model.state_dict(), tmp_path / 'open_clip_model.safetensors')
    else:
        shutil.copy(published.CLIP / 'tiny-vit.json', tmp_path)
        state = model.visual.state_dict() if form == 'own config' else model.state_dict()
        torch.save(state, tmp_path / 'open_clip_pytorch_model.pt')
    tower = load_vision_tower(str(tmp_path), normalize_patches=True)
    assert tower.config['type'] == 'OpenClipVision'
    assert tower.encoder.normalize_patches
    assert tower.encoder.mean == ((0.1, 0.2, 0.3) if form == 'hub' else tower.encoder.mean)
    frames = torch.randn(1, 3, 32, 32)
    model.visual.output_tokens = True
    with torch.no_grad():
        torch.testing.assert_close(tower.encoder(frames), model.eval().visual(frames)[1])


def test_a_name_of_open_clip_and_a_tag(tmp_path, monkeypatch):
    fields, model = tiny_open_clip()
    open_clip.add_model_config(published.CLIP / 'tiny-vit.json')
    save_file(model.state_dict(), tmp_path / 'weights.safetensors')
    asked = []
    monkeypatch.setattr(
        'open_clip.pretrained.get_pretrained_cfg', lambda name, tag: asked.append((name, tag)) or {'x': 1}
    )
    monkeypatch.setattr('open_clip.pretrained.download_pretrained', lambda cfg: str(tmp_path / 'weights.safetensors'))
    for name in ('tiny-vit', 'tiny-vit:laion'):
        tower = load_vision_tower(name)
        assert torch.equal(tower.encoder.tower.conv1.weight, model.visual.conv1.weight)
        assert tower.config['architecture']['vision_cfg'] == fields['vision_cfg']
    assert asked == [('tiny-vit', 'openai'), ('tiny-vit', 'laion')]


def test_an_unknown_tag_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r'no weights .opnai. of ViT-L-14; .*laion400m_e31'):
        load_vision_tower('ViT-L-14:opnai')


def test_folders_of_hugging_face(tmp_path):
    whole = CLIPModel(CLIPConfig(vision_config=SHAPE, text_config=dict(SHAPE, vocab_size=20)))
    whole.save_pretrained(tmp_path / 'clip')
    tower = load_vision_tower(str(tmp_path / 'clip'))
    assert tower.config['type'] == 'ClipVision'
    assert torch.equal(
        tower.tensors['vision_encoder.tower.post_layernorm.weight'], whole.vision_model.post_layernorm.weight
    )
    SiglipVisionModel(SiglipVisionConfig(**SHAPE, vision_use_head=False)).save_pretrained(tmp_path / 'siglip')
    assert load_vision_tower(str(tmp_path / 'siglip')).config['type'] == 'SiglipVision'
    dino = {key: value for key, value in SHAPE.items() if key != 'intermediate_size'}
    Dinov2Model(Dinov2Config(**dino, use_swiglu_ffn=True)).save_pretrained(tmp_path / 'dino')  # as the giant one is
    tower = load_vision_tower(str(tmp_path / 'dino'))
    VISION_ENCODERS.build(tower.config).load_state_dict(tower.encoder.state_dict())


def test_weights_of_another_architecture_and_missing_ones(tmp_path):
    whole = CLIPModel(CLIPConfig(vision_config=SHAPE, text_config=dict(SHAPE, vocab_size=20)))
    state = whole.state_dict()
    del state['vision_model.encoder.layers.0.mlp.fc1.weight']
    whole.save_pretrained(tmp_path / 'clip', state_dict=state)
    with pytest.raises(ConversionError, match=r'layers\.0\.mlp\.fc1\.weight'):
        load_vision_tower(str(tmp_path / 'clip'))
    shutil.copytree(published.CLIP, tmp_path / 'open_clip')
    fields = json.loads((tmp_path / 'open_clip/tiny-vit.json').read_text())
    fields['vision_cfg']['layers'] = 3
    (tmp_path / 'open_clip/tiny-vit.json').write_text(json.dumps(fields))
    with pytest.raises(ConversionError, match=r'resblocks\.2'):
        load_vision_tower(str(tmp_path / 'open_clip'))


@pytest.mark.parametrize('legacy', [True, False, None])
def test_text_after_a_mark_has_the_ids_that_it_was_trained_with(tmp_path, legacy):
    """``tokenizer.json`` says what transformers read in its version 4, with which the published models were trained."""
    folder = shutil.copytree(published.STORED / 'tiny_llama', tmp_path / 'words')
    fields = json.loads((folder / 'tokenizer_config.json').read_text())
    (folder / 'tokenizer_config.json').write_text(json.dumps({**fields, 'legacy': legacy}))
    theirs = tokenizers.Tokenizer.from_file(str(folder / 'tokenizer.json'))
    marks = [tokenizers.AddedToken(mark, special=True, normalized=False) for mark in Otter.special_tokens]
    theirs.add_special_tokens(marks)
    text = '<image>User: What is this? GPT:<answer>A dog.<|endofchunk|>User: Where?'
    words = load_tokenizer(str(folder), Otter())
    assert (words(text)['input_ids'] == theirs.encode(text).ids) == (legacy is not False)


def test_a_language_model_whose_weights_are_not_whole(tiny_llama, tmp_path):
    from safetensors.torch import load_file

    shutil.copytree(tiny_llama, tmp_path / 'lm')
    state = load_file(tmp_path / 'lm/model.safetensors')
    del state['model.layers.3.mlp.up_proj.weight']
    save_file(state, tmp_path / 'lm/model.safetensors', metadata={'format': 'pt'})
    with pytest.raises(ConversionError, match=r'missing:\s+model\.layers\.3\.mlp\.up_proj\.weight'):
        load_language_model(str(tmp_path / 'lm'))


@pytest.mark.parametrize('load', [load_language_model, load_vision_tower])
def test_a_hub_id_without_network_is_one_message(monkeypatch, load):
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(OSError, match="'someone/something' cannot be loaded") as caught:
        load('someone/something')
    assert str(caught.value).endswith('a hub id while the hub can be reached.')


def test_every_tower_is_known():
    assert set(parts.TOWERS.values()) == {'ClipVision', 'SiglipVision', 'Dinov2Vision'}
