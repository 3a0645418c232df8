"""Fixtures shared by all tests: tiny tokenizers and data sets, made on the spot."""

import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from mmgpt import registry
from mmgpt.data.image_stores import write_parquet_images
from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that train in forked processes come first: where autograd has started threads, PyTorch refuses its forks.

    That happened in one run of the whole suite; which of the tests before them had made it start threads is not known.
    """
    items.sort(key=lambda item: not hasattr(getattr(item, 'module', None), 'in_processes'))


@pytest.fixture(autouse=True, scope='session')
def _one_thread():
    """Tensors this small lose far more time to waiting threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _registries():
    """What a test registers is gone after it; mmgpt's own parts, which are imported when they are needed, stay."""
    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    before = [set(each.module_dict) for each in registries]
    yield
    for each, names in zip(registries, before):
        for name in set(each.module_dict) - names:
            if not each.module_dict[name].__module__.startswith('mmgpt.'):
                del each.module_dict[name]


@pytest.fixture(autouse=True, scope='module')
def _shared_model():
    """The tiny model that the tests of a process share is after them what it was: a change would fail later ones."""
    yield
    tiny = sys.modules.get('tests.hub.tiny')
    if tiny is not None and tiny.model_and_processor.cache_info().currsize:
        fresh = tiny.build(tiny.prompter()).state_dict()
        now = tiny.model_and_processor()[0].state_dict()
        assert now.keys() == fresh.keys()
        assert [name for name, value in now.items() if not torch.equal(value, fresh[name])] == []


def tokenizer_corpus() -> list[str]:
    words = ['User', 'GPT', 'What', 'digit', 'is', 'this', 'called', 'larger', 'picture', 'first', 'last', 'the', 'no']
    rng = random.Random(0)
    lines = [' '.join(rng.choices(words, k=9)) for _ in range(200)]
    letters = '0123456789 abcdefghijklmnopqrstuvwxyz .,?!:;\'"()<>|-_'
    return [*lines, *[letters] * 5]


@pytest.fixture(scope='session')
def llama_tokenizer_dir(tmp_path_factory) -> Path:
    """A folder as published LLaMA models have it: a small sentencepiece model with byte fallback."""
    import sentencepiece

    folder = tmp_path_factory.mktemp('llama_tokenizer')
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(tokenizer_corpus()),
        model_writer=model,
        model_type='bpe',
        vocab_size=400,
        byte_fallback=True,
        normalization_rule_name='identity',
        remove_extra_whitespaces=False,
        pad_id=-1,
        minloglevel=2,
        num_threads=1,
    )
    (folder / 'tokenizer.model').write_bytes(model.getvalue())
    config = {
        'tokenizer_class': 'LlamaTokenizer',
        'legacy': False,
        'add_bos_token': True,
        'add_eos_token': False,
        'bos_token': '<s>',
        'eos_token': '</s>',
        'unk_token': '<unk>',
    }
    (folder / 'tokenizer_config.json').write_text(json.dumps(config))
    return folder


@pytest.fixture(scope='session')
def gpt2_tokenizer_dir(tmp_path_factory) -> Path:
    """A byte-level BPE tokenizer whose beginning, end and padding are one token, as MPT's and OPT's family has it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp('gpt2_tokenizer')
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    end = '<|endoftext|>'
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_corpus(), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end)
    fast.save_pretrained(folder)
    return folder


def load_tokenizer(folder: Path):
    """The tokenizer of a folder with Otter's special tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    add_special_tokens(tokenizer, Otter())
    return tokenizer


@pytest.fixture
def tokenizer(llama_tokenizer_dir):
    """A small LLaMA tokenizer with Otter's special tokens and ``<PAD>``."""
    return load_tokenizer(llama_tokenizer_dir)


@pytest.fixture(params=['llama', 'gpt2'])
def any_tokenizer(request, llama_tokenizer_dir, gpt2_tokenizer_dir):
    """Both kinds of tokenizers, with Otter's special tokens."""
    return load_tokenizer({'llama': llama_tokenizer_dir, 'gpt2': gpt2_tokenizer_dir}[request.param])


@pytest.fixture
def prompter(tokenizer) -> Prompter:
    """Otter's template with frames of 8 x 8 pixels."""
    return Prompter(Otter(), tokenizer, ImageTransform(8))


def picture_bytes(number: int, size: int = 12, format: str = 'PNG') -> bytes:
    """A picture of noise that no other number has, encoded."""
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


@pytest.fixture(scope='session')
def mimicit(tmp_path_factory) -> Path:
    """A MIMIC-IT task ``XX`` on disk: 8 pictures questions, 2 pairs, 2 videos of 5 frames and 4 of text only."""
    folder = tmp_path_factory.mktemp('mimicit')
    images = [f'XX_IMG_{i:02d}' for i in range(12)]
    write_parquet_images(folder / 'XX.parquet', ((key, picture_bytes(i)) for i, key in enumerate(images)), 4)
    shown = [[images[i]] for i in range(8)] + [images[0:2], images[2:4], images[4:9], images[7:12]] + [None] * 4
    ids = [f'XX_INS_{i:02d}' for i in range(len(shown))]
    data = {
        id: {
            'instruction': f'What is digit {i}?',
            'answer': f'It is the {i} of {len(ids)}.',
            'rel_ins_ids': [other for other in ids[:8] if other != id][: 3 if i < 8 else 0],
            **({} if frames is None else {'image_ids': frames}),
        }
        for i, (id, frames) in enumerate(zip(ids, shown))
    }
    meta = {'version': '0.0.1', 'time': '2026-01', 'author': 'test'}
    (folder / 'XX_instructions.json').write_text(json.dumps({'meta': meta, 'data': data}))
    (folder / 'XX_train.json').write_text(json.dumps({id: ids[:2] if i >= 4 else [] for i, id in enumerate(ids)}))
    return folder


@pytest.fixture(scope='session')
def make_picture():
    """``make_picture(number, size=12, format='PNG') -> bytes``."""
    return picture_bytes
