"""Lengths that outlast a run: right whatever changes, shared, and done without where they cannot be kept."""

from __future__ import annotations

import json
import logging
import os
import shutil
from multiprocessing import get_context

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mmgpt.data import length_table
from mmgpt.data.builder import build_dataset
from mmgpt.data.dataset import Address
from mmgpt.data.lengths import Lengths
from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform


@pytest.fixture(autouse=True)
def _every_source_is_large(monkeypatch):
    monkeypatch.setattr(length_table, 'KEPT', 1)
    monkeypatch.delenv('MMGPT_CACHE', raising=False)


@pytest.fixture
def folder(mimicit, tmp_path):
    return shutil.copytree(mimicit, tmp_path / 'data', ignore=shutil.ignore_patterns('.mmgpt'))


def dataset(folder, tokenizer, spacing='spaced', max_seq_len=90, **options):
    source = dict(type='MimicIt', name='it', instructions=str(folder / 'XX_instructions.json'))
    source |= dict(train=str(folder / 'XX_train.json'), images=str(folder / 'XX.parquet'))
    source |= dict(retriever=dict(type='RelatedInstructions')) | options
    prompter = Prompter(Otter(spacing=spacing), tokenizer, ImageTransform(8))
    return build_dataset(dict(sources=[source], max_seq_len=max_seq_len), prompter)


def measured(data):
    """The lengths of all samples as they are found, and how many of them had to be measured for it."""
    lengths = Lengths(data)
    asked, measure = [], data.measure
    data.measure = lambda address: asked.append(address) or measure(address)
    found = lengths.of([Address(0, index) for index in range(data.sizes[0])]).tolist()
    del data.measure
    return found, len(asked)


def true_lengths(data):
    return [data.measure(Address(0, index)).tokens for index in range(data.sizes[0])]


def test_the_next_run_knows_what_one_has_measured(folder, tokenizer, caplog):
    with caplog.at_level(logging.WARNING, 'mmgpt.data'):
        found, asked = measured(dataset(folder, tokenizer))
    assert asked == len(found) == 16
    assert [text for text in caplog.messages if 'length-table takes 0.0 MB' in text]
    data = dataset(folder, tokenizer)
    assert measured(data) == (found, 0)
    assert found == true_lengths(data)


CHANGES = {
    'spacing': dict(spacing='compact'),
    'limit': dict(max_seq_len=20),
    'marks': dict(marks='first'),
    'media': dict(media='each'),
    'fewer in the context': dict(retriever=dict(type='RelatedInstructions', pick='first', num=1)),
    'no context': dict(retriever=None),
    'repeated': dict(resample=20),
}


def rewrite(path, change):
    content = json.loads(path.read_text())
    change(content)
    stat = path.stat()
    path.write_text(json.dumps(content))
    if path.stat().st_mtime_ns == stat.st_mtime_ns:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.one_of(
            st.sampled_from([*CHANGES, 'words', 'train', 'as it was']),
            st.tuples(st.integers(0, 15), st.text('0123456789 abcxyz', min_size=1, max_size=9)),
        ),
        min_size=2,
        max_size=4,
    )
)
def test_kept_lengths_are_never_those_of_something_else(steps, folder, llama_tokenizer_dir):
    """Whatever is changed between runs, in whatever order: the lengths are what would be measured."""
    tokenizer = AutoTokenizer.from_pretrained(llama_tokenizer_dir)
    add_special_tokens(tokenizer, Otter())
    for step in steps:
        options = CHANGES.get(step, {}) if isinstance(step, str) else {}
        if step == 'words':
            tokenizer.add_tokens(['What is digit'])
        elif step == 'train':
            rewrite(folder / 'XX_train.json', lambda train: train.update({id: train[id][:1] for id in train}))
        elif not isinstance(step, str):
            place, text = step

            def change(content, place=place, text=text):
                record = content['data'][f'XX_INS_{place:02d}']
                record['answer'] = text + record['answer'][len(text) :]  # of the same size, where it is long enough

            rewrite(folder / 'XX_instructions.json', change)
        data = dataset(folder, tokenizer, **options)
        assert measured(data)[0] == true_lengths(data), step


def test_code_that_changed_is_something_else(folder, tokenizer, monkeypatch):
    measured(dataset(folder, tokenizer))
    monkeypatch.setattr(length_table, '_code', lambda: 'another')
    assert measured(dataset(folder, tokenizer))[1] == 16


def test_lengths_that_chance_has_a_say_in_are_not_kept(folder, tokenizer):
    data = dataset(folder, tokenizer, retriever=dict(type='RelatedInstructions', num=(0, 2)))
    measured(data)
    assert not list(folder.glob('.mmgpt/*length-table*'))


def test_small_sources_write_nothing(folder, tokenizer, monkeypatch):
    monkeypatch.setattr(length_table, 'KEPT', 17)
    measured(dataset(folder, tokenizer))
    assert not list(folder.glob('.mmgpt/*length-table*'))


def test_processes_share_one_table(folder, tokenizer):
    context = get_context('fork')
    data = dataset(folder, tokenizer)

    def measure(start):
        Lengths(data).of([Address(0, index) for index in range(start, 16, 2)])

    workers = [context.Process(target=measure, args=(start,)) for start in (0, 1, 0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert measured(data) == (true_lengths(data), 0)
    assert len([path for path in folder.glob('.mmgpt/*length-table*') if path.is_dir()]) == 1


def test_where_nothing_can_be_written_it_is_said_once_and_measured(folder, tokenizer, monkeypatch, caplog):
    (folder / 'file').touch()
    monkeypatch.setenv('MMGPT_CACHE', str(folder / 'file'))
    data = dataset(folder, tokenizer)
    with caplog.at_level(logging.WARNING, 'mmgpt.data'):
        found, asked = measured(data)
    assert (found, asked) == (true_lengths(data), 16)
    assert len([text for text in caplog.messages if 'measured in each run' in text]) == 1


def test_a_damaged_table_is_not_used(folder, tokenizer, caplog):
    data = dataset(folder, tokenizer)
    expected, _ = measured(data)
    (table,) = folder.glob('.mmgpt/*length-table*/lengths.npy')
    table.write_bytes(table.read_bytes()[:-8])
    assert measured(data) == (expected, 16)
    assert 'measured in each run' in caplog.text
