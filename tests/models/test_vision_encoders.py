import open_clip
import pytest
import torch
from safetensors.torch import save_file
from transformers import SiglipConfig, SiglipModel

from mmgpt.models.vision_encoders import ClipVision, ConvVision, Dinov2Vision, OpenClipVision, SiglipVision
from mmgpt.models.vision_encoders.normalisation import normalise
from tests.models.published import FOLDER

CLIP = dict(
    hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
)
VIT = dict(embed_dim=8, vision_cfg=dict(image_size=32, layers=2, width=16, head_width=8, patch_size=8))
TIMM = dict(
    embed_dim=8,
    vision_cfg=dict(image_size=32, timm_model_name='test_vit', timm_model_pretrained=False, timm_pool='token'),
)
DINO = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
FRAMES = torch.rand(3, 3, 32, 32)


@pytest.mark.parametrize(('make', 'argument'), [(ClipVision, CLIP), (OpenClipVision, VIT), (OpenClipVision, TIMM)])
@torch.no_grad()
def test_patches_with_and_without_the_final_norm(make, argument):
    torch.manual_seed(0)
    raw = make(argument).eval()
    normed = make(argument, normalize_patches=True).eval()
    normed.load_state_dict(raw.state_dict())
    frames = torch.nn.functional.interpolate(FRAMES, raw.image_size)
    patches = raw(frames)
    assert patches.shape[::2] == (3, raw.width)
    norm = next(getattr(raw.tower, name) for name in ('post_layernorm', 'ln_post', 'trunk') if hasattr(raw.tower, name))
    norm = getattr(norm, 'norm', norm)
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    normed.load_state_dict(raw.state_dict())
    assert torch.equal(raw(frames), patches)
    torch.testing.assert_close(normed(frames), norm(patches))


@torch.no_grad()
def test_clip_gives_the_last_hidden_state_without_the_class_token():
    encoder = ClipVision(CLIP).eval()
    hidden = encoder.tower(pixel_values=FRAMES, output_hidden_states=True).hidden_states[-1]
    assert torch.equal(encoder(FRAMES), hidden[:, 1:])


def test_unknown_names_and_missing_files_are_said(tmp_path):
    with pytest.raises(ValueError, match="no model 'ViT-Q-14'"):
        OpenClipVision('ViT-Q-14')
    with pytest.raises(FileNotFoundError, match='no vision weights'):
        OpenClipVision(VIT).load_weights(str(tmp_path))


@pytest.mark.parametrize('form', ['file', 'visual file', 'folder', 'pt'])
def test_open_clip_weights(tmp_path, form):
    whole = open_clip.CLIP(**VIT, text_cfg=dict(context_length=4, vocab_size=8, width=8, heads=1, layers=1))
    state = dict(whole.state_dict())
    path = tmp_path / 'open_clip_model.safetensors'
    if form == 'visual file':
        state = {key.removeprefix('visual.'): value for key, value in state.items() if key.startswith('visual.')}
    if form == 'pt':
        path = tmp_path / 'weights.pt'
        torch.save({'state_dict': {f'module.{key}': value for key, value in state.items()}}, path)
    else:
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    encoder = OpenClipVision(VIT)
    encoder.load_weights(str(tmp_path if form == 'folder' else path))
    for name, value in encoder.tower.state_dict().items():
        assert torch.equal(value, whole.visual.state_dict()[name])


def test_an_archive_of_code_is_not_run(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / 'ViT-L-14.pt')
    with pytest.raises(ValueError, match=r'ViT-L-14\.pt is a TorchScript archive, .* give the same weights as a state'):
        OpenClipVision(VIT).load_weights(str(tmp_path / 'ViT-L-14.pt'))


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(ValueError, match='do not fit the architecture'):
        OpenClipVision(TIMM).load_weights(str(FOLDER / 'tiny_clip/visual.safetensors'))


def test_clip_weights(tmp_path):
    saved = ClipVision(CLIP)
    saved.tower.save_pretrained(tmp_path)
    encoder = ClipVision(CLIP)
    encoder.load_weights(str(tmp_path))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name])
    for key, value in {'hidden_size': 32, 'num_attention_heads': 4}.items():  # heads change no shape, but all values
        with pytest.raises(ValueError, match=rf'{key} is {CLIP[key]}, the config says {value}'):
            ClipVision({**CLIP, key: value}).load_weights(str(tmp_path))


def test_frames_are_normalised_once():
    frames = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    out = normalise(frames, (0.5, 0.5, 0.0), (0.5, 0.25, 1.0), torch.float32)
    torch.testing.assert_close(out.flatten(), torch.tensor([-1.0, (128 / 255 - 0.5) / 0.25, 1.0]))
    assert torch.equal(normalise(out, (9, 9, 9), (9, 9, 9), torch.float32), out)


@pytest.mark.parametrize(
    ('make', 'argument', 'norm', 'prefix'),
    [(SiglipVision, CLIP, 'post_layernorm', 0), (Dinov2Vision, DINO, 'layernorm', 1)],
)
@torch.no_grad()
def test_patches_of_hugging_face_towers(make, argument, norm, prefix):
    torch.manual_seed(0)
    encoder = make(argument).eval()
    for parameter in getattr(encoder.tower, norm).parameters():
        torch.nn.init.normal_(parameter)
    raw = make(argument, normalize_patches=False).eval()
    raw.load_state_dict(encoder.state_dict())
    hidden = encoder.tower(pixel_values=FRAMES, output_hidden_states=True)
    assert torch.equal(encoder(FRAMES), hidden.last_hidden_state[:, prefix:])
    assert torch.equal(raw(FRAMES), hidden.hidden_states[-1][:, prefix:])
    assert encoder(FRAMES).shape == (3, 16, encoder.width)
    torch.testing.assert_close(encoder(FRAMES), getattr(encoder.tower, norm)(raw(FRAMES)))


@pytest.mark.parametrize(('make', 'argument'), [(SiglipVision, CLIP), (Dinov2Vision, DINO)])
def test_weights_of_hugging_face_towers(tmp_path, make, argument):
    saved, encoder = make(argument), make(argument)
    saved.tower.save_pretrained(tmp_path)
    encoder.load_weights(str(tmp_path))
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, saved.state_dict()[name])
    with pytest.raises(ValueError, match='hidden_size is 16, the config says 32'):
        make({**argument, 'hidden_size': 32}).load_weights(str(tmp_path))


@pytest.mark.parametrize(
    ('make', 'argument', 'change'),
    [
        (SiglipVision, CLIP, {'intermediate_size': 64}),
        (SiglipVision, CLIP, {'hidden_act': 'relu'}),
        (Dinov2Vision, DINO, {'use_swiglu_ffn': True}),
        (Dinov2Vision, DINO, {'mlp_ratio': 2}),
    ],
)
def test_what_a_saved_model_would_be_built_without_is_refused(tmp_path, make, argument, change):
    make({**argument, **change}).tower.save_pretrained(tmp_path)
    (key, value), *_ = change.items()
    with pytest.raises(ValueError, match=f'{key} is {value}, the config says'):
        make(argument).load_weights(str(tmp_path))


def test_siglip_is_taken_out_of_the_whole_model(tmp_path):
    text = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    whole = SiglipModel(SiglipConfig(text_config=text, vision_config=CLIP))
    whole.save_pretrained(tmp_path)
    encoder = SiglipVision(CLIP)
    encoder.load_weights(str(tmp_path))
    for name, value in encoder.tower.state_dict().items():
        assert torch.equal(value, whole.vision_model.state_dict()[name])


@torch.no_grad()
def test_convolutions_see_every_place_and_tell_places_apart():
    torch.manual_seed(0)
    encoder = ConvVision(channels=(8, 16), image_size=32, groups=4)
    patches = encoder(FRAMES)
    assert patches.shape == (3, 64, encoder.width)
    for row, column in ((0, 0), (31, 31), (13, 18)):
        changed = FRAMES.clone()
        changed[:, :, row, column] += 3
        change = (encoder(changed) - patches).norm(dim=(0, 2)).view(8, 8)
        at = int(change.argmax())
        assert abs(at // 8 - row / 4) <= 1
        assert abs(at % 8 - column / 4) <= 1
    blank = encoder(torch.zeros(1, 3, 32, 32))[0].view(8, 8, -1)
    assert not torch.allclose(blank[3, 3], blank[4, 4])


def test_convolutions_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match='image_size 30'):
        ConvVision(channels=(8, 16), image_size=30)
    with pytest.raises(ValueError, match='multiples of groups'):
        ConvVision(channels=(8, 18))
    with pytest.raises(ValueError, match='no published weights'):
        ConvVision(channels=(8, 16)).load_weights('openai/clip-vit-base-patch32')
