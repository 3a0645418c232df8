"""A fault in a config is told with its file, its line and what was probably meant, and all faults at once."""

from __future__ import annotations

import random
import shutil
import string
import tokenize
from pathlib import Path

import pytest

from mmgpt.data.sources import MimicIt
from mmgpt.engine.config import ConfigError, load_config, parse_overrides

from .project import write_project

SHIPPED = sorted((Path(__file__).parents[2] / 'configs').glob('*.py'))


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp('project'))


def faults_of(path: Path, old: str, new: str) -> list[str]:
    text = path.read_text()
    assert old in text
    edited = path.with_name('edited.py')
    edited.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_config(edited)
    return [str(fault) for fault in error.value.faults]


def test_a_good_config_has_no_fault(project):
    assert load_config(project).train_cfg.max_iters == 12


@pytest.mark.parametrize(
    ('old', 'new', 'suggestion'),
    [
        ('num_latents=2', 'num_latnets=2', "did you mean 'num_latents'"),
        ("type='PerceiverResampler'", "type='PercieverResampler'", "did you mean 'PerceiverResampler'"),
        ("type='AdamW'", "type='AdmaW'", "did you mean 'AdamW'"),
        ("type='CosineAnnealingLR'", "type='CosinAnnealingLR'", "'CosineAnnealingLR'"),
        ("attend='previous'", "attend='previuos'", "did you mean 'previous'"),
        ("precision='fp32'", "precision='fp23'", "did you mean 'fp32'"),
        ('randomness = dict', 'gradient_checkpointing = dict(evry=2)\nrandomness = dict', "did you mean 'every'"),
        (
            'randomness = dict',
            'gradient_checkpoints = True\nrandomness = dict',
            "did you mean 'gradient_checkpointing'",
        ),
        ('randomness = dict', 'compile = dict(dinamic=True)\nrandomness = dict', "did you mean 'dynamic'"),
        ('randomness = dict', "compile = dict(mode='max-autotun')\nrandomness = dict", "did you mean 'max-autotune'"),
        ("model_type='llama'", "model_type='lama'", "did you mean 'llama'"),
        ('num_hidden_layers=2', 'num_hiden_layers=2', "did you mean 'num_hidden_layers'"),
        ("trainable=['resampler'", "trainable=['resmapler'", "did you mean 'resampler'"),
        ('train_dataloader = dict', 'train_dataloder = dict', "did you mean 'train_dataloader'"),
        ('optimizer=dict(', 'optimizer=dcit(', "did you mean 'dict'"),
        ('max_keep_ckpts=2', 'max_kep_ckpts=2', "did you mean 'max_keep_ckpts'"),
        ('checkpoint=dict', 'chekpoint=dict', "did you mean 'checkpoint'"),
        ("retriever=dict(type='Rel", "retriever=dict(tpye='Rel", "did you mean 'type'"),
        ("spacing='spaced'", "spacing='spacde'", "did you mean 'spaced'"),
        ('CO_train.json', 'CO_trian.json', 'CO_train.json'),
        ('weight=2.0', 'weight=2.0, atend_next=0.5', "did you mean 'attend_next'"),
        ('weight=2.0', 'weight=2.0, attend_next=0.5', 'is for web pages; the samples of MimicIt'),
        ('weight=2.0', 'weight=2.0, attend_next=2', 'a share of the samples, from 0 to 1'),
        ('lr=3e-3', 'rl=3e-3', "did you mean 'lr'"),
        ('lr=3e-3', 'lr=3d-3', '1e-3'),
        ('batch_size=3', "batch_size='3'", 'expected int'),
        ("path='", "path=q'", "did you mean f'"),
        ("precision='fp32'", "precision='fp32', no_decay=['resmapler.*']", "did you mean 'resampler'"),
        ("precision='fp32'", "precision='fp32', lr_factors={'*.lattents': 2.0}", "did you mean 'latents'"),
        ('patch_size=8', "patch_size=8, attn_implementation='egaer'", "did you mean 'eager'"),
    ],
)
def test_one_fault_is_told_with_line_and_suggestion(project, old, new, suggestion):
    line = project.read_text().split(old)[0].count('\n') + 1
    faults = faults_of(project, old, new)
    assert any(suggestion in fault for fault in faults), faults
    assert any(f'edited.py:{n}:' in fault for fault in faults for n in range(line - 3, line + 1)), (line, faults)


def test_samples_cannot_choose_where_the_model_sees_all_media(project, monkeypatch):
    monkeypatch.setattr(MimicIt, 'pages', True)
    edited = project.with_name('edited.py')
    edited.write_text(project.read_text().replace('weight=2.0', 'attend_next=0.5'))
    load_config(edited)
    edited.write_text(edited.read_text().replace("attend='previous'", "attend='all_previous'"))
    with pytest.raises(ConfigError, match=r"attend_next chooses .* but model.attend is 'all_previous'"):
        load_config(edited)


@pytest.mark.parametrize('tower', ['ClipVision', 'SiglipVision', 'Dinov2Vision', 'IdeficsVision'])
def test_the_inline_configuration_of_every_tower_is_checked(project, tower):
    path = project.with_name('edited.py')
    path.write_text(project.read_text().replace('ClipVision', tower).replace('patch_size', 'pach_size'))
    with pytest.raises(ConfigError, match="did you mean 'patch_size'"):
        load_config(path)


@pytest.mark.parametrize('tower', ['ClipVision', 'SiglipVision'])
def test_pictures_of_a_size_that_a_tower_cannot_take_are_told(project, tower):
    path = project.with_name('edited.py')
    path.write_text(project.read_text().replace('ClipVision', tower).replace('dict(size=16)', 'dict(size=24)'))
    with pytest.raises(
        ConfigError, match=rf'edited.py:\d+: .*{tower} takes pictures of its image_size, 16, alone; got 24'
    ):
        load_config(path)


@pytest.mark.parametrize('tower', ['Dinov2Vision', 'IdeficsVision'])
def test_a_tower_that_interpolates_takes_pictures_of_another_size(project, tower):
    path = project.with_name('edited.py')
    text = project.read_text().replace('ClipVision', tower).replace('intermediate_size=32,', '', 1)
    path.write_text(text.replace('dict(size=16)', 'dict(size=24)'))
    load_config(path)


def test_published_weights_may_have_another_size_than_the_default(project):
    path = project.with_name('edited.py')
    text = project.read_text().replace("type='ClipVision',", "type='ClipVision', weights='somebody/own-tower',")
    path.write_text(text.replace('dict(size=16)', 'dict(size=24)'))
    load_config(path)


def test_a_wrong_name_of_what_is_trained_is_no_trained_vision_encoder(project):
    path = project.with_name('edited.py')
    text = project.read_text().replace("trainable=['resampler'", "trainable=['resmapler'")
    text = text.replace("augment=[dict(type='RandomAffine', degrees=20.0)],", '')
    path.write_text(f"feature_cache = dict(folder='features')\n{text}")
    with pytest.raises(ConfigError, match=r'has 1 fault:\n.*no parameter is matched'):
        load_config(path)


def test_all_faults_are_told_at_once(project):
    text = project.read_text()
    edited = project.with_name('edited.py')
    for old, new in (('num_latents', 'num_latnets'), ("'AdamW'", "'AdmaW'"), ('seed=', 'sede=')):
        text = text.replace(old, new)
    edited.write_text(text)
    with pytest.raises(ConfigError, match='3 faults') as error:
        load_config(edited)
    assert all(word in str(error.value) for word in ('num_latents', 'AdamW', "'seed'"))


def test_a_config_may_describe_an_evaluation_alone(tmp_path):
    config = tmp_path / 'evaluate.py'
    config.write_text("evaluation = dict(type='DigitsEvaluation', episodes=3)\n")
    assert load_config(config).evaluation.episodes == 3
    config.write_text("evaluation = dict(type='DigitsEvaluation', episods=3)\n")
    with pytest.raises(ConfigError, match=r"evaluate\.py:1: .*did you mean 'episodes'"):
        load_config(config)
    config.write_text("evaluation = dict(type='DigitsEvaluation')\ntokenizer = dict(path='t')\n")
    with pytest.raises(ConfigError, match="the config has no 'model'"):
        load_config(config)


def test_a_letter_wrong_in_a_name_on_the_hub_is_told(project):
    for weights in ('openai/clip-vit-large-patch14', 'somebody/own-tower'):
        text = project.read_text().replace("type='ClipVision',", f"type='ClipVision', weights='{weights}',")
        (project.parent / 'hub.py').write_text(text)
        load_config(project.parent / 'hub.py')
    path = project.parent / 'hub.py'
    path.write_text(text.replace('somebody/own-tower', 'openai/clip-vit-large-pztch14'))
    with pytest.raises(ConfigError, match="did you mean 'openai/clip-vit-large-patch14'"):
        load_config(path)


def test_a_fault_of_a_base_is_told_in_the_base(project, tmp_path):
    base = project.with_name('base.py')
    base.write_text(project.read_text().replace('num_latents', 'num_latnets'))
    child = project.with_name('child.py')
    child.write_text("_base_ = ['base.py']\ntrain_cfg = dict(max_iters=3)\n")
    with pytest.raises(ConfigError, match=r'base\.py:\d+: .*num_latents'):
        load_config(child)
    child.write_text("_base_ = ['bsae.py']\n")
    with pytest.raises(ConfigError, match=r'child\.py:1: .*did you mean .*base\.py'):
        load_config(child)
    with pytest.raises(FileNotFoundError, match=r'did you mean .*child\.py'):
        load_config(project.with_name('chlid.py'))


def test_overrides_change_values_and_are_checked(project):
    cfg = load_config(project, ['randomness.seed=1', 'train_dataloader.dataset.sources.0.weight=0.5', 'work_dir=a b'])
    assert cfg.randomness.seed == 1
    assert cfg.train_dataloader.dataset.sources[0].weight == 0.5
    assert cfg.work_dir == 'a b'
    with pytest.raises(ConfigError, match=r"--cfg-options: .*did you mean 'max_iters'"):
        load_config(project, ['train_cfg.max_itres=1'])


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('two  words ', 'two  words '),
        ('1', 1),
        ('1e-4', 1e-4),
        ('true', True),
        ('None', None),
        ("(1, 'a b')", (1, 'a b')),
        ('{"a": [1, null]}', {'a': [1, None]}),
        ('a=b', 'a=b'),
        ("dict(type='StopHook', signals=[dict(a=1)])", {'type': 'StopHook', 'signals': [{'a': 1}]}),
        ('dict(open("x"))', 'dict(open("x"))'),
        ('', ''),
    ],
)
def test_override_values_keep_blanks_and_types(text, value):
    assert parse_overrides([f'key={text}']) == {'key': value}


@pytest.mark.parametrize(
    ('override', 'message'),
    [
        *((f'{key}=3', f'{key}: expected dict, got 3') for key in ('model', 'optim_wrapper', 'train_dataloader')),
        ('default_hooks=[1]', r'default_hooks: expected dict, got \[1\]'),
        ('custom_imports=[]', r'custom_imports: expected dict, got \[\]'),
        ('custom_imports=[1]', r'--cfg-options: custom_imports: expected dict, got \[1\]'),
        ('custom_imports.imports=[1]', r'custom_imports.imports: expected names of modules, got \[1\]'),
        ('randomness=5', 'randomness: expected dict, got 5'),
        *((f'{key}=3', f'{key}: expected dict or None') for key in ('export', 'auto_scale_lr', 'val_dataloader')),
        ('custom_imports=3', 'custom_imports: expected dict, got 3'),
        ('load_from=[1]', r'load_from: expected str or None, got \[1\]'),
        ('resume=[1]', r'resume: expected bool or str, got \[1\]'),
        ('train_dataloader.dataset.sources=None', 'sources: expected list, got None'),
        ('param_scheduler.0.by_epoch=True', 'has no epochs'),
        ("custom_hooks=[{'type': 'EMAHook'}]", 'EMAHook cannot save'),
        ("custom_hooks=[{'type': 'EarlyStoppingHook', 'monitor': 'val/loss'}]", 'EarlyStoppingHook would never stop'),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(project, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(project, [override])


def test_a_plugin_that_lies_beside_its_config_but_not_on_the_path_is_told(project, tmp_path):
    (tmp_path / 'beside_plugin.py').write_text('')
    path = tmp_path / 'c.py'
    path.write_text(f"_base_ = ['{project}']\ncustom_imports = dict(imports=['beside_plugin'])\n")
    with pytest.raises(ConfigError, match=r"No module named 'beside_plugin'; is its folder on PYTHONPATH\?"):
        load_config(path)


def test_an_address_is_not_taken_for_a_slip_in_a_path(project, tmp_path):
    path = tmp_path / 'c.py'
    base = Path(__file__).parents[2] / 'configs/multimodal_gpt.py'
    source = "dict(type='Messages', annotations='https://example.org/sets/train-0.parquet')"
    path.write_text(f"_base_ = ['{base}']\ntrain_dataloader = dict(dataset=dict(sources=[{source}]))\n")
    load_config(path)


def test_variables_may_be_set_by_tuples_and_loops(project):
    helpers = [
        'first, last = 2, 5',
        'counts = {}',
        'for number, _ in enumerate(range(2)):',
        '    counts[number], twice = first, 2 * number',
        'if last > 3:',
        '    steps = twice + last',
        'train_cfg = dict(max_iters=steps)',
    ]
    edited = project.with_name('edited.py')
    edited.write_text('\n'.join([f'_base_ = [{project.name!r}]', *helpers]))
    assert load_config(edited).train_cfg.max_iters == 7
    edited.write_text(f'_base_ = [{project.name!r}]\nfirst, lastt = 2, 5\ntrain_cfg = dict(max_iters=first)\n')
    with pytest.raises(ConfigError, match=r"edited.py:2: unknown key 'lastt'"):
        load_config(edited)


def test_an_override_without_equals_is_refused():
    with pytest.raises(ValueError, match='key=value'):
        parse_overrides(['key'])


@pytest.mark.parametrize('path', [None, *SHIPPED], ids=lambda path: path.stem if path else 'tiny')
def test_random_one_letter_edits_are_reported(project, path, tmp_path):
    if path is not None:
        path = Path(shutil.copytree(path.parent, tmp_path / 'configs')) / path.name
    path = path or project
    text = path.read_text()
    draw = random.Random(0)
    places = [i for i in letters(path) if text[i].isalpha()]
    edited = path.with_name(f'edited_{path.name}')
    silent = []
    for place in draw.sample(places, 40):
        letter = draw.choice([c for c in string.ascii_lowercase if c != text[place].lower()])
        edited.write_text(text[:place] + letter + text[place + 1 :])
        line = text[:place].count('\n')
        try:
            load_config(edited)
            silent.append(edited.read_text().splitlines()[line])
        except ConfigError as error:
            if edited.name not in str(error):
                silent.append(str(error))
    assert not silent


def letters(path: Path) -> list[int]:
    """The places in a file that are neither comment nor docstring."""
    starts = [0]
    for line in path.read_text().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    with path.open('rb') as file:
        tokens = list(tokenize.tokenize(file.readline))
    places = []
    for token in tokens:
        if token.type in (tokenize.NAME, tokenize.STRING, tokenize.NUMBER) and not token.string.startswith('"""'):
            begin = starts[token.start[0] - 1] + token.start[1]
            places += range(begin, begin + len(token.string))
    return places


def test_the_backends_that_offloading_needs_are_accepted(project, tmp_path):
    text = project.read_text() + "\nenv_cfg = dict(dist_cfg=dict(backend='cpu:gloo,cuda:nccl'))\n"
    edited = tmp_path / 'offload.py'
    edited.write_text(text)
    assert load_config(edited).env_cfg.dist_cfg.backend == 'cpu:gloo,cuda:nccl'
