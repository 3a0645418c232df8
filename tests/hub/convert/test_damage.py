"""What is damaged or does not belong together is refused with a reason, and nothing is left behind."""

import json
import os
import re
import resource
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, MptConfig, MptForCausalLM

from tests.hub.convert import published


@pytest.fixture
def refused(run, tmp_path, capsys):
    """``refused(*arguments)``: the message of a command that must fail with exit code 1 (or ``code``)."""

    def command(*arguments, code=1):
        out = tmp_path / 'results' / 'd'
        capsys.readouterr()
        assert run(*arguments, '--out', out) == code
        assert not out.parent.exists() or not list(out.parent.iterdir())
        return capsys.readouterr().err

    return command


@pytest.fixture
def checkpoint(tmp_path):
    """``checkpoint(change)``: a release after ``change(state)``."""

    def write(change=lambda state: None):
        state = published.release_v2()
        change(state)
        torch.save(state, tmp_path / 'checkpoint.pt')
        return tmp_path / 'checkpoint.pt'

    return write


class Code:
    """A pickle of it runs a command when it is loaded by ``pickle``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('key', ['tuning_config', 'model_state_dict', 'epoch'])
@pytest.mark.parametrize('function', [os.system, exec, eval, shutil.rmtree])
def test_code_is_not_run(refused, mmgpt_base, tmp_path, function, key, legacy):
    mark = tmp_path / 'mark'
    if function is shutil.rmtree:
        mark.mkdir()
    command = {os.system: f'touch {mark}', shutil.rmtree: str(mark)}.get(function, f'open({str(mark)!r}, "w")')
    content = {
        'model_state_dict': published.lora(),
        'tuning_config': published.tuning_config(),
        key: Code(function, command),
    }
    torch.save(content, tmp_path / 'lora.pt', _use_new_zipfile_serialization=not legacy)
    message = refused('multimodal-gpt', tmp_path / 'lora.pt', '--base', mmgpt_base)
    assert 'nothing in it was run' in message
    assert function.__name__ in message
    assert mark.exists() == (function is shutil.rmtree)


@pytest.mark.parametrize('share', [0.1, 0.5, 0.99])
def test_a_truncated_checkpoint(refused, checkpoint, parts, share):
    path = checkpoint()
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert 'cut off' in refused('openflamingo', path, *parts)


@pytest.mark.parametrize('ending', ['bin', 'safetensors'])
def test_a_truncated_shard_and_one_that_is_not_there(refused, tmp_path, ending):
    folder = published.otter(tmp_path / 'otter')
    published.write_shards(published.stored('d_otter_image/full_state'), folder, safe=ending == 'safetensors')
    shard = next(folder.glob(f'*-00002-of-*.{ending}'))
    shard.write_bytes(shard.read_bytes()[:200_000])
    assert shard.name in refused('otter', folder)
    shard.unlink()
    assert shard.name in refused('otter', folder, code=2)


def test_code_in_a_part_is_not_run_and_nobody_is_told_how(refused, checkpoint, tiny_llama, tmp_path):
    shutil.copytree(published.CLIP, tmp_path / 'clip')
    shutil.copytree(tiny_llama, tmp_path / 'lm')
    for file in (tmp_path / 'clip/visual.safetensors', tmp_path / 'lm/model.safetensors'):
        name = 'open_clip_pytorch_model.bin' if file.name == 'visual.safetensors' else 'pytorch_model.bin'
        torch.save({**load_file(file), 'x': Code(os.system, f'touch {tmp_path / "mark"}')}, file.with_name(name))
        file.unlink()
    for parts in (
        (tiny_llama, '--vision-model', tmp_path / 'clip'),
        (tmp_path / 'lm', '--vision-model', published.CLIP),
    ):
        message = refused('openflamingo', checkpoint(), '--language-model', *parts)
        assert 'nothing in them was run' in message
        assert 'weights_only' not in message
    parts = ('--language-model', tmp_path / 'lm', '--vision-model', published.CLIP)
    assert 'language_decoder were refused, and nothing in them was run' in refused('compose', *parts, code=2)
    assert not (tmp_path / 'mark').exists()


def test_a_truncated_tower_and_language_model(refused, checkpoint, tiny_llama, tmp_path):
    shutil.copytree(published.CLIP, tmp_path / 'clip')
    shutil.copytree(tiny_llama, tmp_path / 'lm')
    for file in (tmp_path / 'clip/visual.safetensors', tmp_path / 'lm/model.safetensors'):
        file.write_bytes(file.read_bytes()[:-1000])
    model = ('openflamingo', checkpoint(), '--language-model')
    assert 'the vision model' in refused(*model, tiny_llama, '--vision-model', tmp_path / 'clip')
    assert 'the language model' in refused(*model, tmp_path / 'lm', '--vision-model', published.CLIP)


LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n'


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
def test_a_pointer_of_git_lfs_is_no_damage(refused, tmp_path, name):
    folder = published.otter(tmp_path / 'otter')
    (folder / name).write_text(LFS)
    assert 'is a pointer of git-lfs' in refused('otter', folder)


@pytest.fixture
def full_disk():
    """Lets no file grow beyond 50 kB."""
    limits, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, action)


@pytest.mark.parametrize('verb', ['otter', 'export-otter', 'export-openflamingo'])
def test_a_disk_that_is_full(request, refused, otter, tmp_path, verb):
    folder = otter
    if verb == 'otter':
        folder = published.otter(tmp_path / 'otter')
        torch.save(published.stored('d_otter_image/full_state'), folder / 'pytorch_model.bin')
    request.getfixturevalue('full_disk')
    assert re.search(r'd could not be written, [\d,]+ MiB were free there', refused(verb, folder, code=2))


def test_where_nothing_can_be_written_nothing_is_begun(run, tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'link').symlink_to(tmp_path / 'gone')
    assert run('otter', tmp_path / 'nowhere', '--out', tmp_path / 'link') == 2
    assert 'exists already' in capsys.readouterr().err
    for above in (tmp_path / 'file', tmp_path):
        assert run('otter', tmp_path / 'nowhere', '--out', above / 'new' / 'd') == 2
        assert f'{above} is no folder that can be written to' in capsys.readouterr().err
        monkeypatch.setattr(os, 'access', lambda path, mode: False)  # as on a disk that is only read


def test_not_a_checkpoint(refused, mmgpt_base, tmp_path, parts):
    path = tmp_path / 'checkpoint.pt'
    path.write_text('<html>not found</html>')
    assert 'checkpoint.pt' in refused('openflamingo', path, *parts)
    torch.save({0: torch.ones(1)}, path)
    assert 'holds no tensors' in refused('openflamingo', path, *parts)
    torch.save([1, 2], path)
    assert 'holds no tensors' in refused('openflamingo', path, *parts)
    assert 'holds no tensors' in refused('multimodal-gpt', path, '--base', mmgpt_base)
    torch.save(published.release_v2(), path)
    assert 'no LoRA matrices' in refused('multimodal-gpt', path, '--base', mmgpt_base)
    torch.save({'model_state_dict': published.lora()}, path)
    assert "gated blocks in 'base_model.model.model.layers'" in refused('openflamingo', path, *parts)


def shift_blocks(state):
    """Blocks before every third layer instead of every second."""
    blocks = {key: state.pop(key) for key in list(state) if '.gated_cross_attn_layer.' in key}
    for old, new in ((1, 2), (3, 5)):
        place = f'layers.{old}.'
        state |= {key.replace(place, f'layers.{new}.'): value for key, value in blocks.items() if place in key}


def drop(pattern):
    def change(state):
        del state[next(key for key in state if pattern in key)]

    return change


def cut(pattern):
    def change(state):
        key = next(key for key in state if pattern in key)
        state[key] = state[key][..., :-1].clone()

    return change


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (drop('norm_latents.bias'), [], 'missing: resampler.layers.0.0.norm_latents.bias'),
        (drop('perceiver.latents'), [], 'lacks resampler.latents'),
        (drop('embed_tokens'), [], 'lacks the input embedding'),
        (drop('gated_cross_attn_layer.attn_gate'), [], 'missing: gated_blocks.1.attn_gate'),
        (cut('ff.3.weight'), [], r'ff\.3\.weight: \(32, 127\) in the file, \(32, 128\) in the model'),
        (lambda state: state.update({'perceiver.extra': torch.ones(1)}), [], 'unexpected: resampler.extra'),
        (lambda state: state.update({'other.weight': torch.ones(1)}), [], 'unexpected: other.weight'),
        (shift_blocks, ['--cross-attn-every-n-layers', 2], r'gated blocks at layers \[2, 5\]'),
        (lambda state: None, ['--cross-attn-every-n-layers', 4], 'correct --cross-attn-every-n-layers'),
    ],
)
def test_tensors_that_are_missing_left_over_or_elsewhere(refused, checkpoint, parts, change, options, message):
    assert re.search(message, refused('openflamingo', checkpoint(change), *parts, *options))


@pytest.mark.parametrize(('value', 'options'), [(float('nan'), []), (1e6, ['--dtype', 'float16'])])
def test_values_that_are_not_finite(refused, checkpoint, parts, value, options):
    def change(state):
        state['perceiver.latents'] = state['perceiver.latents'].clone().fill_(value)

    message = refused('openflamingo', checkpoint(change), *parts, *options)
    assert re.search(
        r'not finite, in the checkpoint or once they are torch\.float\d+ .*\s+resampler\.latents\n', message
    )


def other_language_model(folder, tiny_llama, kind):
    sizes = dict(vocab_size=720, bos_token_id=1, eos_token_id=2)
    llama = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=8, num_attention_heads=4)
    if kind == 'mpt':
        lm = MptForCausalLM(MptConfig(d_model=32, n_layers=8, n_heads=4, **sizes))
    else:
        changes = {'wider': {'hidden_size': 64}, 'deeper': {'num_hidden_layers': 12}}[kind]
        lm = LlamaForCausalLM(LlamaConfig(**{**llama, **changes}, **sizes))
    lm.save_pretrained(folder)
    for name in ('tokenizer.json', 'tokenizer_config.json'):
        shutil.copy(tiny_llama / name, folder)
    return folder


@pytest.mark.parametrize(
    ('kind', 'message'),
    [
        ('mpt', 'of another family'),
        ('wider', 'Was it trained with this language model'),
        ('deeper', 'trained with another language model'),
    ],
)
def test_another_language_model(refused, checkpoint, tiny_llama, tmp_path, kind, message):
    lm = other_language_model(tmp_path / 'lm', tiny_llama, kind)
    assert message in refused('openflamingo', checkpoint(), '--language-model', lm, '--vision-model', published.CLIP)


def test_another_tokenizer(refused, checkpoint, parts, tiny_llama, tmp_path):
    shutil.copytree(tiny_llama, tmp_path / 'words')
    fields = json.loads((tmp_path / 'words/tokenizer.json').read_text())
    token = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    fields['added_tokens'] += [{'id': 720 + i, 'content': f'<more{i}>', **token} for i in range(5)]
    (tmp_path / 'words/tokenizer.json').write_text(json.dumps(fields))
    message = refused('openflamingo', checkpoint(), *parts, '--tokenizer', tmp_path / 'words')
    assert 'trained with another tokenizer' in message


def test_a_smaller_vocabulary_is_noted(run, checkpoint, parts, llama_tokenizer_dir, tmp_path, capsys):
    options = ('--tokenizer', llama_tokenizer_dir, '--dtype', 'bfloat16')
    assert run('openflamingo', checkpoint(), *parts, *options, '--out', tmp_path / 'd') == 0
    assert '723 rows in its embedding, the tokenizer 403 tokens' in capsys.readouterr().out
    stored = load_file(tmp_path / 'd/model.safetensors')
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert run('openflamingo', checkpoint(), *parts, '--dtype', 'int8', '--out', tmp_path / 'e') == 2
    assert 'floating type' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda key: key.replace('layers.7.', 'layers.8.'), 'does not have'),  # of a deeper language model
        (lambda key: None if 'layers.5.' in key else key, 'missing: language_model.model.layers.5.'),
        (lambda key: None if 'layers.5.' in key and 'lora_B' in key else key, 'lora_B'),
        (lambda key: key.replace('model.layers', 'transformer.blocks'), ''),
        (lambda key: key.replace('.lora_', '.adapter_'), 'no LoRA matrices'),
    ],
)
def test_an_adapter_of_another_base(refused, mmgpt_base, tmp_path, change, message):
    state = {change(key): value for key, value in published.lora().items()}
    state.pop(None, None)
    torch.save({'model_state_dict': state, 'tuning_config': published.tuning_config()}, tmp_path / 'lora.pt')
    assert message in refused('multimodal-gpt', tmp_path / 'lora.pt', '--base', mmgpt_base)


def test_an_adapter_of_a_wider_base_and_of_another_rank(refused, mmgpt_base, tmp_path):
    wide = {key: value.repeat(1, 2) if 'lora_A' in key else value for key, value in published.lora().items()}
    torch.save({'model_state_dict': wide, 'tuning_config': published.tuning_config()}, tmp_path / 'lora.pt')
    assert '(16, 64) in the file, (16, 32)' in refused('multimodal-gpt', tmp_path / 'lora.pt', '--base', mmgpt_base)
    settings = {**published.tuning_config(), 'lora_r': 8}
    torch.save({'model_state_dict': published.lora(), 'tuning_config': settings}, tmp_path / 'lora.pt')
    assert 'lora_r=8' in refused('multimodal-gpt', tmp_path / 'lora.pt', '--base', mmgpt_base)


def test_inputs_that_are_not_there(refused, run, parts, checkpoint, tmp_path, capsys):
    assert 'nowhere.pt' in refused('openflamingo', tmp_path / 'nowhere.pt', *parts, code=2)
    assert 'nowhere' in refused('otter', tmp_path / 'nowhere', code=2)
    assert 'no weights' in refused('otter', published.otter(tmp_path / 'otter'), code=2)
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert 'vision_cfg' in refused('openflamingo', checkpoint(), *parts[:2], '--vision-model', empty)
    assert run('openflamingo', checkpoint(), *parts, '--out', empty) == 2
    assert 'exists already' in capsys.readouterr().err
    assert not list(empty.iterdir())


def test_an_otter_around_a_language_model_that_transformers_lacks(refused, tmp_path):
    folder = published.otter(tmp_path / 'otter')
    torch.save(published.stored('d_otter_image/full_state'), folder / 'pytorch_model.bin')
    fields = json.loads((folder / 'config.json').read_text())
    fields['text_config']['architectures'] = ['MosaicGPT']
    (folder / 'config.json').write_text(json.dumps(fields))
    assert 'MosaicGPT' in refused('otter', folder)
    fields['text_config'] |= {'architectures': ['LlamaForCausalLM'], 'hidden_size': None}
    (folder / 'config.json').write_text(json.dumps(fields))
    assert "'hidden_size' expected int, got NoneType" in refused('otter', folder, code=2)
    fields['text_config'] = None
    (folder / 'config.json').write_text(json.dumps(fields))
    assert 'of the architecture None' in refused('otter', folder)


def test_an_otter_without_its_language_model_or_of_another_spacing(refused, tmp_path):
    folder = published.otter(tmp_path / 'otter')
    state = published.stored('d_otter_image/full_state')
    torch.save(
        {key: value for key, value in state.items() if '.decoder_layer.' not in key}, folder / 'pytorch_model.bin'
    )
    assert 'missing: language_model.model.layers.0.' in refused('otter', folder)
    torch.save(state, folder / 'pytorch_model.bin')
    fields = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**fields, 'cross_attn_every_n_layers': 2}))
    assert 'gated blocks at layers [3, 7]' in refused('otter', folder)
    (folder / 'config.json').write_text(json.dumps({**fields, 'max_num_frames': 4}))
    assert 'missing: resampler.frame_embs' in refused('otter', folder)
