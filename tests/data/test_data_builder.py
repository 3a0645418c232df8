import json
import random

import numpy as np
import pytest
import torch

from mmgpt.data.builder import build_dataloader, build_dataset, build_prompter, build_tokenizer
from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter
from mmgpt.registry import SOURCES
from mmgpt.structures import Medium, Turn

AUGMENT = [dict(type='RandomAffine', degrees=15, translate=0.1), dict(type='RandomBrightness', gain=0.2)]


@pytest.fixture
def config(mimicit):
    with_train = dict(
        type='MimicIt', instructions=str(mimicit / 'XX_instructions.json'), train=str(mimicit / 'XX_train.json')
    )
    images = str(mimicit / 'XX.parquet')
    related = dict(type='RelatedInstructions', num=(0, 2))
    sources = [
        dict(**with_train, images=images, retriever=related, weight=2, augment=AUGMENT, name='in context'),
        dict(**with_train, images=images, num_samples=5, marks='first', loss_weight=0.5, max_frames=3, kind='video'),
        dict(**with_train, name='text only'),
    ]
    return dict(batch_size=3, dataset=dict(sources=sources, max_seq_len=150))


@pytest.fixture(params=['MixtureSampler', 'PackingSampler', 'LengthGroupedSampler'])
def streamed(request, config):
    """The same with each kind of sampler; context is drawn anew in each epoch, and lengths with it."""
    planned = {'PackingSampler': dict(row_length=160, workers=1), 'LengthGroupedSampler': dict(group=6)}
    options = dict(planned[request.param], window=20) if request.param in planned else {}
    return {**config, 'sampler': dict(type=request.param, **options)}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


def take(loader, batches):
    return [batch for _, batch in zip(range(batches), loader)]


@pytest.mark.filterwarnings('ignore:This DataLoader will create')
@pytest.mark.parametrize('workers', [1, 4])
def test_the_stream_is_the_same_for_any_number_of_workers(streamed, prompter, workers):
    single = take(build_dataloader(streamed, prompter, seed=3), 8)
    many = take(build_dataloader({**streamed, 'num_workers': workers}, prompter, seed=3), 8)
    assert all(map(same, single, many))
    assert len({str(batch['sample_ids']) for batch in single}) > 6
    assert any('frames' in batch and (batch['kinds'] == 0).any() for batch in single)  # text and pictures in one


def test_what_is_said_of_workers_is_no_fault_without_them(streamed, prompter):
    assert take(build_dataloader({**streamed, 'num_workers': 0, 'prefetch_factor': 4}, prompter), 1)


@pytest.mark.slow
@pytest.mark.parametrize('method', ['spawn', 'forkserver'])
def test_the_stream_is_the_same_however_workers_start(streamed, prompter, method):
    single = take(build_dataloader(streamed, prompter), 6)
    options = dict(num_workers=1, multiprocessing_context=method)
    assert all(map(same, single, take(build_dataloader({**streamed, **options}, prompter), 6)))


def test_a_resumed_stream_goes_on_exactly(streamed, prompter):
    whole = take(build_dataloader(streamed, prompter), 8)
    interrupted = build_dataloader({**streamed, 'num_workers': 2}, prompter)
    take(interrupted, 4)
    interrupted.batch_sampler.skip(4)  # four were trained on, however many the workers have read
    resumed = build_dataloader({**streamed, 'num_workers': 2}, prompter)
    resumed.batch_sampler.load_state_dict(json.loads(json.dumps(interrupted.batch_sampler.state_dict())))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # the global state has no say
    assert all(map(same, take(resumed, 4), whole[4:]))


def test_loading_draws_nothing_from_the_global_state(config, prompter):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    take(build_dataloader({**config, 'num_workers': 1}, prompter), 2)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_seeds_give_other_streams(config, prompter):
    one, other = (take(build_dataloader(config, prompter, seed=seed), 2) for seed in (0, 1))
    assert not all(map(same, one, other))


def test_processes_take_turns(streamed, prompter):
    whole = take(build_dataloader(streamed, prompter), 4)
    ranks = [take(build_dataloader(streamed, prompter, rank=rank, world_size=2), 2) for rank in range(2)]
    assert all(map(same, whole, [batch for pair in zip(*ranks) for batch in pair]))


def test_the_same_images_are_one_store(config, prompter):
    dataset = build_dataset(config['dataset'], prompter)
    first, second, third = (entry.source.images for entry in dataset.entries)
    assert first is second
    assert third is None
    assert dataset.quotas == [32, 5, 16]
    assert dataset.max_seq_len == 150


def test_wrong_names_are_answered(config, prompter, mimicit):
    source = config['dataset']['sources'][0]
    for change, message in (
        (dict(type='MimicItt'), "no source named 'MimicItt'; did you mean 'MimicIt'"),
        (dict(retriever=dict(type='RelatedInstruction')), "did you mean 'RelatedInstructions'"),
        (dict(augment=[dict(type='RandomAfine')]), "did you mean 'RandomAffine'"),
        (dict(images=dict(type='ParquetImage', path='x')), "did you mean 'ParquetImages'"),
    ):
        with pytest.raises(KeyError, match=message):
            build_dataset(dict(sources=[{**source, **change}]), prompter)
    with pytest.raises(TypeError, match='instruction_file'):
        build_dataset(dict(sources=[{**source, 'instruction_file': 'x'}]), prompter)
    with pytest.raises(FileNotFoundError, match='no such file'):
        build_dataset(dict(sources=[{**source, 'instructions': str(mimicit / 'no.json')}]), prompter)


def test_a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(OSError, match=r'no tokenizer at .*give a folder'):
        build_tokenizer(dict(path=str(tmp_path)), Otter())
    with pytest.raises(TypeError, match=r"got \['folder'\] too"):
        build_tokenizer(dict(path=str(tmp_path), folder='x'), Otter())


def test_a_prompter_is_saved_beside_its_tokenizer(llama_tokenizer_dir, tmp_path):
    prompter = build_prompter(
        dict(type='Otter', spacing='spaced'),
        dict(path=str(llama_tokenizer_dir)),
        dict(size=6, resize='short_side_crop', interpolation='bilinear'),
    )
    prompter.tokenizer.save_pretrained(tmp_path)
    saved = json.loads(json.dumps(prompter.to_dict()))
    again = Prompter.from_dict(saved, build_tokenizer(dict(path=str(tmp_path)), Otter()))
    assert again.to_dict() == prompter.to_dict()
    assert len(again.tokenizer) == len(prompter.tokenizer)
    turns = [Turn('user', 'What is this?', (Medium(('a',)),)), Turn('assistant', 'A digit.')]
    assert torch.equal(again.encode(turns).input_ids, prompter.encode(turns).input_ids)
    assert again.text(turns[:1], generate=True) == '<image>User: What is this? GPT:<answer>'
    assert again.tokenizer.decode([again.media_token_id, again.stop_token_id]) == '<image><|endofchunk|>'
    with pytest.raises(ValueError, match="'a' is the key of an image store, and the source has none"):
        again.frame('a')


def test_a_source_of_ones_own(prompter):
    """A plugin needs no base class: what the protocol names is enough."""

    class OneLine:
        name, images = 'one line', None

        def __init__(self, text):
            self.text = text

        def __len__(self):
            return 1

        def __getitem__(self, index):
            from mmgpt.structures import Sample

            return Sample('1', (Turn('user', self.text), Turn('assistant', 'yes')))

    SOURCES.register_module(name='OneLine', module=OneLine)
    try:
        loader = build_dataloader(dict(batch_size=2, dataset=dict(sources=[dict(type='OneLine', text='a?')])), prompter)
        assert next(iter(loader))['sample_ids'] == [['1'], ['1']]
    finally:
        SOURCES.module_dict.pop('OneLine')


def test_a_tokenizer_without_its_files_is_none(tmp_path):
    (tmp_path / 'config.json').write_text('{"model_type": "idefics"}')  # transformers makes an empty one
    with pytest.raises(OSError, match='its files are not there'):
        build_tokenizer(dict(path=str(tmp_path)), Otter())


def test_a_language_of_a_source_is_that_of_its_samples(config, prompter, mimicit, tmp_path):
    records = {f'i{n}': {'instruction': 'q', 'answer': 'a', **({'language': 'ja'} if n else {})} for n in range(2)}
    (tmp_path / 'x.json').write_text(json.dumps({'data': records}))
    source = dict(type='MimicIt', instructions=str(tmp_path / 'x.json'), language='ko')
    dataset = build_dataset(dict(sources=[source]), prompter)
    assert [dataset.encode((0, n, 0)).language for n in range(2)] == ['ko', 'ja']
