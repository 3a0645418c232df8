"""Parts and model folders that several files of tests need, each made once."""

import pytest
import torch

from tests.hub.convert import published
from tools import convert


@pytest.fixture(scope='session')
def run():
    """``run(*arguments)`` runs ``tools/convert.py`` in this process and returns its exit code."""

    def command(*arguments) -> int:
        return convert.main([str(argument) for argument in arguments])

    return command


@pytest.fixture(scope='session')
def tiny_llama(tmp_path_factory):
    return published.language_model(tmp_path_factory.mktemp('llama') / 'tiny_llama')


@pytest.fixture(scope='session')
def parts(tiny_llama):
    """The options that name language model and vision model."""
    return ('--language-model', tiny_llama, '--vision-model', published.CLIP)


@pytest.fixture(scope='session')
def mmgpt_base(run, parts, tmp_path_factory):
    """The model folder of MultiModal-GPT's base."""
    folder = tmp_path_factory.mktemp('mmgpt_base')
    torch.save(published.release_v1('e_mmgpt'), folder / 'checkpoint.pt')
    assert run('openflamingo', folder / 'checkpoint.pt', *parts, '--out', folder / 'base') == 0
    return folder / 'base'


@pytest.fixture(scope='session')
def flamingo(run, parts, tmp_path_factory):
    """The model folder of the stored OpenFlamingo, converted from its whole state."""
    folder = tmp_path_factory.mktemp('flamingo') / 'd'
    whole = published.STORED / 'c_of_llama/full_state.safetensors'
    assert run('openflamingo', whole, *parts, '--out', folder) == 0
    return folder


@pytest.fixture(scope='session')
def otter(run, tmp_path_factory):
    """The model folder of the stored Otter."""
    folder = tmp_path_factory.mktemp('otter')
    state = published.stored('d_otter_image/full_state')
    published.write_shards(state, published.otter(folder / 'published'), safe=True)
    assert run('otter', folder / 'published', '--out', folder / 'd') == 0
    return folder / 'd'
