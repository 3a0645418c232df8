"""Model cards are filled from the run, and what is uploaded is what a user needs; without network nothing is sent."""

import importlib.util
from pathlib import Path
from unittest import mock

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HTTPError

from mmgpt.hub import push
from mmgpt.hub.io import save_folder
from mmgpt.hub.model_card import Run, model_card
from mmgpt.hub.push import push_to_hub
from tests.hub import tiny

CONFIG = {
    'model': {
        **tiny.config(),
        'language_decoder': {'weights': 'someone/llama', 'revision': 'abc'},
        'vision_encoder': {'weights': '/home/me/towers/clip'},
    },
    'train_dataloader': {
        'batch_size': 4,
        'dataset': {'sources': [{'type': 'MimicIt', 'instructions': '/home/me/data/LA/LADD_instructions.json'}]},
    },
    'optim_wrapper': {'optimizer': {'type': 'AdamW', 'lr': 1e-4}, 'accumulative_counts': 8, 'precision': 'bf16'},
    'template': {'type': 'Otter'},
    'randomness': {'seed': 3},
    'evaluation': {'type': 'Digits'},
    'export': {'license': 'cc-by-nc-4.0', 'language': 'en', 'datasets': ['someone/mimicit'], 'tags': ['otter']},
}
METRICS = {'reading': 0.9612345, 'naming': {'4': 0.97}, 'baselines': {'reading': 0.5}, 'seed': 3, 'config': 'c.py'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = save_folder(tmp_path_factory.mktemp('saved') / 'hf', *tiny.model_and_processor())
    (folder / 'README.md').write_text(card())
    return folder


def card(**changes):
    model, _ = tiny.model_and_processor()
    return model_card(model, Run({**CONFIG, **changes}, '/home/me/work_dirs/otter', 800, 61.5, 2, METRICS))


def test_a_card_is_filled_from_the_run():
    read = ModelCard(card())
    data = read.data.to_dict()
    assert data['license'] == 'cc-by-nc-4.0'
    assert data['base_model'] == ['someone/llama']
    assert data['datasets'] == ['someone/mimicit']
    assert data['pipeline_tag'] == 'image-text-to-text'
    assert {'mmgpt', 'otter'} <= set(data['tags'])
    assert {r.metric_name: r.metric_value for r in read.data.eval_results} == {'reading': 0.9612, 'naming, 4': 0.97}
    text = read.text
    for expected in (
        '# otter',
        'someone/llama abc',
        '| clip |',
        'LADD_instructions.json',
        'AdamW, learning rate 0.0001',
    ):
        assert expected in text
    assert '| steps | 100 |' in text
    assert '| samples per step | 64 |' in text
    assert '/home/me' not in card()  # no path of the machine


def test_a_source_has_its_weight_or_its_number_of_samples():
    sources = [{'type': 'A'}, {'type': 'B', 'weight': 0.5}, {'type': 'C', 'num_samples': 300, 'weight': 2.0}]
    text = card(train_dataloader={'dataset': {'sources': sources}})
    assert '| A |  | 1.0 |\n| B |  | 0.5 |\n| C |  | 300 samples |' in text


def test_a_benchmark_gives_its_main_figure_by_shots():
    rows = [
        {'shots': 0, 'trials': [79.5, 80.5], 'mean': 80.0, 'stddev': 0.5, 'figures': {'CIDEr': [79.5, 80.5]}},
        {'shots': 4, 'trials': [], 'mean': None, 'stddev': None},
    ]
    settings = {'batch_size': 8, 'answering': {'num_beams': 3}}
    metrics = {'task': 'coco', 'main': 'CIDEr', 'rows': rows, 'settings': settings, 'versions': {'mmgpt': '0.1.0'}}
    config = {**CONFIG, 'evaluation': {'type': 'Evaluation'}}
    model, _ = tiny.model_and_processor()
    read = ModelCard(model_card(model, Run(config, 'work_dirs/otter', 800, 61.5, 2, {**metrics, 'seed': 3})))
    results = [(r.dataset_name, r.metric_type, r.metric_name, r.metric_value) for r in read.data.eval_results]
    assert results == [('coco', 'CIDEr', 'CIDEr, 0 shots', 80.0)]
    assert '| coco |  |' in read.text


def test_a_base_in_the_form_of_open_clip_is_named_by_its_hub_id():
    parts = {name: {'weights': 'hf-hub:someone/vit'} for name in ('vision_encoder', 'language_decoder')}
    assert ModelCard(card(model={**tiny.config(), **parts})).data.base_model == ['someone/vit']


def test_a_card_without_licence_or_figures_says_so():
    model, _ = tiny.model_and_processor()
    text = model_card(model, Run({'model': CONFIG['model']}, 'w', 0, 0.0))
    assert 'Not stated. It follows from the licences of someone/llama and of the data: set `export.license`' in text
    assert 'Not evaluated.' in text
    assert 'license' not in ModelCard(text).data.to_dict()


@pytest.fixture
def api(monkeypatch):
    """The hub's client, every call of which is noted and none sent."""
    monkeypatch.setattr(push, 'is_reachable', lambda: True)
    made = mock.create_autospec(HfApi, instance=True)
    made.upload_folder.return_value.repo_url.url = 'https://hub/me/otter'
    monkeypatch.setattr(push, 'HfApi', lambda token=None: made)
    return made


def test_a_folder_is_uploaded_with_its_card(api, folder):
    assert push_to_hub(folder, 'me/otter', private=True, revision='v1') == 'https://hub/me/otter'
    api.create_repo.assert_called_once_with('me/otter', private=True, exist_ok=True)
    api.create_branch.assert_called_once_with('me/otter', branch='v1', exist_ok=True)
    sent = api.upload_folder.call_args.kwargs
    assert (sent['folder_path'], sent['repo_id'], sent['revision']) == (folder, 'me/otter', 'v1')
    assert 'training/*' in sent['ignore_patterns']


def test_what_is_of_no_use_elsewhere_is_not_uploaded(api, tmp_path, folder):
    with pytest.raises(FileNotFoundError, match='not a model folder'):
        push_to_hub(tmp_path, 'me/otter')
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / 'references.json').write_text('{}')
    with pytest.raises(OSError, match='of no use elsewhere'):
        push_to_hub(tmp_path, 'me/otter')
    (tmp_path / 'model.safetensors').unlink()  # as in a checkpoint in shards
    with pytest.raises(OSError, match=r'holds no weights .*convert\.py consolidate'):
        push_to_hub(tmp_path, 'me/otter')
    assert not api.method_calls


@pytest.mark.parametrize('call', ['create_repo', 'create_branch', 'upload_folder'])
def test_a_connection_that_breaks_is_told(api, folder, call):
    getattr(api, call).side_effect = HTTPError('it was closed')
    with pytest.raises(OSError, match=r'the upload to me/otter broke off \(HTTPError: it was closed\)'):
        push_to_hub(folder, 'me/otter', revision='v1')


def test_without_network_nothing_is_sent(folder, monkeypatch, capsys):
    monkeypatch.setattr(push, 'is_reachable', lambda: False)
    spec = importlib.util.spec_from_file_location('push_tool', Path(__file__).parents[2] / 'tools' / 'push.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main([str(folder), 'me/otter']) == 2
    assert capsys.readouterr().err == (
        'push: me/otter cannot be uploaded: the Hugging Face hub cannot be reached; nothing was sent\n'
    )
