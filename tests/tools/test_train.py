"""Training through its tool: as a user runs it, killed and resumed, and with parts from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine import Config
from safetensors.torch import load_file

from mmgpt.engine.config import load_config
from mmgpt.engine.weights import read_weights
from tests.engine.project import write_project
from tools import train

ROOT = Path(__file__).parents[2]

WITNESS = '''
"""A plugin that notes what happens in each iteration, and kills the process where it is told to."""
import json, os, signal
from mmengine.hooks import Hook
from mmgpt.registry import HOOKS

@HOOKS.register_module()
class Witness(Hook):
    priority = 'LOWEST'  # after the checkpoint

    def __init__(self, file, kill_after=None):
        self.file, self.kill_after = file, kill_after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        entry = dict(
            iteration=runner.iter + 1,
            loss=outputs['sums'].loss_sum.item(),
            ids=[ids[0] for ids in data_batch['sample_ids']],
            pixels=int(data_batch['frames'].long().sum()) if 'frames' in data_batch else 0,
            dropout=runner.bare_model.language_model.model.layers[0].self_attn.training,
            workers=runner.train_dataloader.num_workers,
            inside_window=runner.optim_wrapper.inside_window,
        )
        with open(self.file, 'a') as file:
            file.write(json.dumps(entry) + '\\n')
        if self.kill_after == runner.iter + 1:
            os.kill(os.getpid(), signal.SIGKILL)
'''


def exit_code_of_process(arguments: list[str], plugins: Path) -> int:
    """Run the tool in a process of its own."""
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{plugins}', 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, str(ROOT / 'tools' / 'train.py'), *arguments]
    return subprocess.run(command, env=environment, cwd=plugins, check=False).returncode


def losses(work_dir: Path) -> dict[int, tuple]:
    found = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if 'loss' in entry:
                found[entry['step']] = (entry['loss'], entry['lr'], entry.get('grad_norm'))
    return found


def test_killed_inside_a_window_and_resumed_is_bit_identical(tmp_path, monkeypatch):
    """kill -9 after iteration 7 of 12; checkpoints at 5 and 10, accumulation windows of 3: nothing is on a border."""
    (tmp_path / 'witness.py').write_text(WITNESS)
    config = str(write_project(tmp_path / 'project', imports=('witness',)))
    options = ['train_dataloader.num_workers=2', 'default_hooks.checkpoint.interval=5']
    options += ['default_hooks.logger.interval=1']

    monkeypatch.syspath_prepend(tmp_path)

    def arguments(name: str, *more: str, kill_after: int | None = None) -> list[str]:
        hook = {'type': 'Witness', 'file': str(tmp_path / f'{name}.jsonl'), 'kill_after': kill_after}
        changes = [*options, f'custom_hooks={[hook]}']
        return [config, '--work-dir', str(tmp_path / name), *more, '--cfg-options', *changes]

    assert exit_code_of_process(arguments('cut', kill_after=7), plugins=tmp_path) == -9
    assert [p.name for p in (tmp_path / 'cut' / 'checkpoints').iterdir()] == ['iter_000005']
    assert train.main(arguments('cut', '--resume')) == 0
    assert train.main(arguments('whole')) == 0

    seen = [json.loads(line) for line in (tmp_path / 'whole.jsonl').read_text().splitlines()]
    again = [json.loads(line) for line in (tmp_path / 'cut.jsonl').read_text().splitlines()]
    assert [entry['iteration'] for entry in again] == [*range(1, 8), *range(6, 13)]
    assert again[:7] == seen[:7]
    assert again[7:] == seen[5:]
    assert losses(tmp_path / 'whole') == losses(tmp_path / 'cut')
    assert len(losses(tmp_path / 'cut')) == 12
    last = [tmp_path / name / 'checkpoints' / 'iter_000012' for name in ('whole', 'cut')]
    optimizers = [load_file(folder / 'training' / 'optimizer.safetensors') for folder in last]
    for first, second in (map(read_weights, last), optimizers):
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    saved = tmp_path / 'cut' / 'checkpoints' / 'iter_000010' / 'training'
    facts = {
        'dropout': all(entry['dropout'] for entry in seen),
        'shuffled': seen[0]['ids'] != sorted(seen[0]['ids']) or seen[1]['ids'] != sorted(seen[1]['ids']),
        'workers': seen[0]['workers'],
        'killed inside a window': seen[6]['inside_window'],
        'saved inside a window': (saved / 'gradients.safetensors').exists(),
        'augmented': any(entry['pixels'] % 255 for entry in seen),  # the pictures are plain; turned corners are not
    }
    print(facts)
    assert facts == {**dict.fromkeys(facts, True), 'workers': 2}


def test_the_tool_trains_saves_and_says_where(tmp_path, capsys):
    config = write_project(tmp_path / 'project')
    config.write_text(config.read_text() + "steps = 6\ntrain_cfg = dict(type='IterLoop', max_iters=steps)\n")
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w')]) == 0
    shown = capsys.readouterr().out
    assert load_config(tmp_path / 'w' / config.name).train_cfg.max_iters == 6
    assert '6/6 100 %' in shown
    for word in ('loss', 'image', 'text', 'tokens/s', 'samples/s', 'left', str(tmp_path / 'w' / 'hf')):
        assert word in shown
    assert len(shown.splitlines()) < 8

    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(tmp_path / 'w' / 'hf')
    processor = AutoProcessor.from_pretrained(tmp_path / 'w' / 'hf')
    inputs = processor.apply_chat_template(
        [{'role': 'user', 'content': 'say red'}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt',
    )  # fmt: skip
    assert model.generate(**inputs, max_new_tokens=2).shape[1] > inputs['input_ids'].shape[1]
    log = next((tmp_path / 'w').glob('*/vis_data'))
    assert (log / 'scalars.json').exists()
    assert list(log.glob('events.out.tfevents.*'))
    assert (tmp_path / 'w' / 'curves.png').stat().st_size > 1000
    samples = [json.loads(line) for line in (log.parent / 'samples.jsonl').read_text().splitlines()]
    assert {'prompt', 'expected', 'generated', 'step', 'id'} <= samples[0].keys()
    assert samples[0]['prompt'].endswith('<answer>')
    assert any('gates/0.attn' in line for line in (log / 'scalars.json').read_text().splitlines())


PLUGIN = '''
"""A resampler, a template and a source from outside the package."""
import torch
from mmgpt.data.sources import Source
from mmgpt.data.templates import Otter
from mmgpt.registry import RESAMPLERS, SOURCES, TEMPLATES
from mmgpt.structures import Sample, Turn

@RESAMPLERS.register_module()
class MeanPool(torch.nn.Module):
    def __init__(self, width, scale=1.0):
        super().__init__()
        self.width, self.num_latents = width, 1
        self.scale = torch.nn.Parameter(torch.tensor([scale]))

    def forward(self, features, frame_mask=None, media_index=None):
        return features.mean(dim=(1, 2))[:, None] * self.scale

@TEMPLATES.register_module()
class Shouting(Otter):
    def __init__(self, loud=True):
        super().__init__(spacing='spaced')
        self.loud = loud

    def to_dict(self):
        return {'type': 'Shouting', 'loud': self.loud}

@SOURCES.register_module()
class Echo(Source):
    def __init__(self, words):
        super().__init__('echo')
        self.words = list(words)

    def __len__(self):
        return len(self.words)

    def __getitem__(self, index):
        turns = Turn('user', 'say ' + self.words[index]), Turn('assistant', self.words[index])
        return Sample(f'echo_{index}', turns, source='echo')

    def find(self, id):
        return self[int(id.removeprefix('echo_'))]
'''


def test_parts_from_outside_train_through_their_config(tmp_path, monkeypatch):
    (tmp_path / 'outside.py').write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    config = write_project(
        tmp_path / 'project',
        imports=('outside',),
        replacements={
            "type='PerceiverResampler', depth=1, num_latents=2, heads=2, head_width=8": "type='MeanPool', scale=0.5",
            "dict(type='Otter', spacing='spaced')": "dict(type='Shouting', loud=False)",
            "dict(type='MimicIt', instructions='{}/TX_instructions.json', weight=1.0)".format(
                tmp_path / 'project'
            ): "dict(type='Echo', words=['red', 'blue'], weight=3.0)",
        },
    )
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w'), '--cfg-options', 'train_cfg.max_iters=4']) == 0
    weights = read_weights(tmp_path / 'w' / 'hf')
    assert weights['resampler.scale'].item() != 0.5
    assert json.loads((tmp_path / 'w/hf/config.json').read_text())['resampler']['type'] == 'MeanPool'


TOOLING = '''
"""A data builder and an evaluation task from outside the package."""
import shutil
from pathlib import Path
from mmgpt.registry import BUILDERS, TASKS

@BUILDERS.register_module()
class Copies:
    def __init__(self, origin, folder):
        self.origin, self.folder = Path(origin), Path(folder)

    def files(self):
        return [self.folder / path.relative_to(self.origin) for path in self.origin.rglob('*')]

    def is_built(self):
        return self.folder.exists()

    def build(self):
        shutil.copytree(self.origin, self.folder)

@TASKS.register_module()
class Measure:
    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, model, processor, work_dir):
        assert not model.training and processor.tokenizer is not None and work_dir.is_dir()
        return {'reading': 0.5 * self.factor}
'''


def test_data_is_built_first_and_the_model_evaluated_last(tmp_path, monkeypatch, capsys):
    (tmp_path / 'tooling.py').write_text(TOOLING)
    monkeypatch.syspath_prepend(tmp_path)
    config = write_project(tmp_path / 'project', imports=('tooling',))
    shutil.copytree(tmp_path / 'project', tmp_path / 'origin')
    for path in (tmp_path / 'project').iterdir():
        if path != config:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    data = tmp_path / 'data'
    text = config.read_text().replace(str(tmp_path / 'project'), str(data))
    text += f"data_builder = dict(type='Copies', origin='{tmp_path / 'origin'}', folder='{data}')\n"
    config.write_text(text + "evaluation = dict(type='Measure', factor=0.5)\n")
    work_dir = tmp_path / 'w'
    options = ['--cfg-options', 'train_cfg.max_iters=3', 'randomness.seed=5']

    assert train.main([str(config), '--work-dir', str(work_dir), '--no-validate', *options]) == 0
    assert not (work_dir / 'metrics.json').exists()
    assert train.main([str(config), '--work-dir', str(work_dir), '--resume', *options]) == 0
    metrics = json.loads((work_dir / 'metrics.json').read_text())
    assert metrics['reading'] == 0.25
    assert metrics['seed'] == 5
    assert metrics['train_seconds'] > 0
    assert metrics['config'] == str(config)
    assert capsys.readouterr().out.count('building the data set') == 1

    shutil.rmtree(data)
    config.write_text(config.read_text().replace('CO_train.json', 'CO_trayn.json'))
    assert train.main([str(config)]) == 2
    assert "did you mean '" + str(data / 'CO_train.json') in capsys.readouterr().err
    assert not data.exists()


def test_a_dry_run_rehearses_and_keeps_nothing(tmp_path, capsys):
    config = write_project(tmp_path / 'project')
    shutil.rmtree(tmp_path / 'project' / 'tokenizer')
    (tmp_path / 'project' / 'CO.json').unlink()
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w'), '--dry-run']) == 0
    shown = capsys.readouterr().out
    for done in ('trained 20 steps', 'resumed at step 10', 'loaded what was saved', 'has no evaluation'):
        assert done in shown
    assert not (tmp_path / 'w').exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['project']


def test_a_dry_run_without_checkpoints_resumes_nothing(tmp_path, capsys):
    config = write_project(tmp_path / 'project')
    assert train.main([str(config), '--dry-run', '--cfg-options', 'default_hooks.checkpoint=None']) == 0
    shown = capsys.readouterr().out
    assert 'its hooks saved nothing at 10, so nothing is resumed' in shown
    assert 'loaded what was saved' in shown


def test_all_that_is_missing_is_told_at_once(tmp_path, capsys):
    weights = "type='CausalLM', weights='nobody/nothing-7b',"
    config = write_project(tmp_path / 'project', replacements={"type='CausalLM',": weights})
    shutil.rmtree(tmp_path / 'project' / 'tokenizer')
    (tmp_path / 'project' / 'CO.json').rename(tmp_path / 'elsewhere.json')
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w')]) == 2
    told = capsys.readouterr().err
    for word in ('hf download nobody/nothing-7b', 'CO.json', 'tokenizer.path', 'looked in', 'configs/otter_demo.py'):
        assert word in told
    assert told.count('train: ') == 1
    assert not (tmp_path / 'w').exists()


def test_amp_turns_autocast_on(tmp_path):
    args = train.parse(['c.py', '--amp', '--work-dir', 'w', '--resume'])
    cfg = train.configure(Config({'optim_wrapper': {'precision': 'fp32'}}), args)
    assert cfg.optim_wrapper.precision == 'bf16'
    assert cfg.resume is True
    assert cfg.work_dir == 'w'


def test_faults_are_told_and_nothing_is_written(tmp_path, capsys):
    config = write_project(tmp_path / 'project', replacements={'num_latents': 'num_latnets'})
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w')]) == 2
    assert "did you mean 'num_latents'" in capsys.readouterr().err
    assert train.main([str(tmp_path / 'project' / 'tni.py')]) == 2
    assert 'tiny.py' in capsys.readouterr().err
    assert not (tmp_path / 'w').exists()


def test_the_seed_reaches_weights_and_order(tmp_path, capsys):
    from mmgpt.engine.build import build_parts

    config = write_project(tmp_path / 'project')
    seen = []
    for seed in (0, 1, 1):
        parts = build_parts(load_config(config, [f'randomness.seed={seed}']))
        order = [tuple(address) for address in next(iter(parts.dataloader.batch_sampler))]
        seen.append((parts.model.gated_blocks['0'].attn.to_q.weight.sum().item(), order))
    assert seen[1] == seen[2]
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


@pytest.mark.parametrize(('launcher', 'script'), [('pytorch', 'dist_train.sh'), ('slurm', 'slurm_train.sh')])
def test_a_launcher_that_started_nothing_is_refused_in_words(tmp_path, launcher, script, capsys, monkeypatch):
    for name in ('RANK', 'SLURM_PROCID'):
        monkeypatch.delenv(name, raising=False)
    config = write_project(tmp_path / 'project')
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w'), '--launcher', launcher]) == 2
    assert f'start with tools/{script}' in capsys.readouterr().err


def test_started_again_a_run_goes_on_from_its_own_checkpoints(tmp_path, monkeypatch):
    start = tmp_path / 'other' / 'iter_000008'

    def resumed(*options: str, **more) -> object:
        return train.configure(Config(more), train.parse(['c.py', '--work-dir', str(tmp_path), *options])).resume

    def written(iteration: int) -> None:
        folder = tmp_path / 'checkpoints' / f'iter_{iteration:06d}' / 'training'
        folder.mkdir(parents=True)
        (folder / 'checksums.json').write_text('{}')

    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    assert resumed() is True
    written(4)  # of a run before
    assert resumed('--resume', str(start)) == str(start)
    assert resumed(resume=str(start)) == str(start)
    written(12)
    assert resumed('--resume', str(start)) is True
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')
    assert resumed('--resume', str(start)) == str(start)


def test_an_empty_resume_is_refused(tmp_path, capsys):
    config = write_project(tmp_path / 'project')
    assert train.main([str(config), '--work-dir', str(tmp_path / 'w'), '--resume', '']) == 2
    assert '--resume expects auto or the folder of a checkpoint' in capsys.readouterr().err
    assert not (tmp_path / 'w').exists()
