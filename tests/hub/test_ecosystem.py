"""The model and its processor, unchanged, in the trainers and loaders of others."""

import copy

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmgpt.hub.io import save_folder
from tests.hub import tiny

NEW = 6  # tokens


def needs(package):
    return pytest.importorskip(package, reason=f'pip install "mmgpt[trainers]" brings {package}')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp('saved') / 'tiny', *tiny.model_and_processor())


@pytest.fixture
def loaded(folder):
    return AutoModelForImageTextToText.from_pretrained(folder), AutoProcessor.from_pretrained(folder)


ARGUMENTS = dict(per_device_train_batch_size=2, max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)


def changed(model, before):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_a_step_of_transformers_trainer(loaded, tmp_path):
    needs('accelerate')
    from transformers import Trainer, TrainingArguments

    model, processor = loaded
    kinds = ['image', 'context', 'text', 'video']
    rows = [[*tiny.conversations()[kind], tiny.assistant('seven')] for kind in kinds]

    def collate(batch):
        how = dict(return_assistant_tokens_mask=True, padding_side='right')
        inputs = processor.apply_chat_template(batch, tokenize=True, return_dict=True, return_tensors='pt', **how)
        inputs['labels'] = inputs['input_ids'].masked_fill(inputs.pop('assistant_masks') == 0, -100)
        return inputs

    with torch.no_grad():
        expected = model(**collate(rows[:2])).loss
    before = copy.deepcopy(model.state_dict())
    arguments = TrainingArguments(
        output_dir=tmp_path,
        remove_unused_columns=False,
        save_steps=1,
        train_sampling_strategy='sequential',
        **ARGUMENTS,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collate, processing_class=processor
    )
    assert trainer.train().training_loss == pytest.approx(expected.item(), rel=1e-4)
    names = changed(model, before)
    assert {name.split('.')[0] for name in names} == {'vision_encoder', 'resampler', 'language_model', 'gated_blocks'}
    again = AutoModelForImageTextToText.from_pretrained(tmp_path / 'checkpoint-1')
    assert not changed(again, model.state_dict())
    AutoProcessor.from_pretrained(tmp_path / 'checkpoint-1')


def test_accumulation_in_transformers_trainer_is_a_larger_batch(loaded, tmp_path):
    needs('accelerate')
    from transformers import Trainer, TrainingArguments

    model, processor = loaded
    ids = processor.tokenizer('What digit is this?', return_tensors='pt').input_ids[0]
    rows = [{'input_ids': ids, 'labels': ids.roll(i)} for i in range(4)]
    logged = []
    for size, steps in ((4, 1), (2, 2)):
        arguments = ARGUMENTS | dict(per_device_train_batch_size=size, gradient_accumulation_steps=steps)
        arguments |= dict(learning_rate=0.0, logging_steps=1, max_grad_norm=1e9, save_strategy='no')
        trainer = Trainer(model=model, args=TrainingArguments(output_dir=tmp_path, **arguments), train_dataset=rows)
        trainer.train()
        logged.append([trainer.state.log_history[0][name] for name in ('loss', 'grad_norm')])
    assert logged[1] == pytest.approx(logged[0], rel=1e-3)


def test_a_step_of_sft_trainer(loaded, tmp_path):
    trl, datasets = needs('trl'), needs('datasets')
    model, processor = loaded
    rows = [
        {'images': [tiny.picture(i)], 'messages': [{'role': 'user', 'content': 'What is it?'}, tiny.assistant('seven')]}
        for i in range(2)
    ]
    messages = [[tiny.user('What is it?', tiny.image(i)), tiny.assistant('seven')] for i in range(2)]
    how = dict(tokenize=True, return_dict=True, return_tensors='pt', padding_side='right')
    inputs = processor.apply_chat_template(messages, **how)
    labels = inputs['input_ids'].masked_fill(inputs['attention_mask'] == 0, -100)
    with torch.no_grad():
        expected = model(**inputs, labels=labels).loss
        hidden = model.base_model(**inputs).last_hidden_state
        torch.testing.assert_close(model.get_output_embeddings()(hidden), model(**inputs).logits)
    before = copy.deepcopy(model.state_dict())
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(output_dir=str(tmp_path), bf16=False, save_strategy='no', **ARGUMENTS),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=processor,
    )
    assert trainer.train().training_loss == pytest.approx(expected.item(), rel=1e-4)
    assert {name.split('.')[0] for name in changed(model, before)} >= {'resampler', 'language_model', 'gated_blocks'}


PARTS = {'vision_encoder': 'cpu', 'resampler': 'disk', 'language_model': 'cpu', 'gated_blocks.0': 'disk'}
MAPS = {
    'cpu': 'cpu',
    'auto': 'auto',
    'all on one': {'': 'cpu'},
    'parts on the disk': {**PARTS, 'gated_blocks.1': 'cpu'},
    'all on the disk': {**dict.fromkeys(PARTS, 'disk'), 'gated_blocks.1': 'disk'},
}


@pytest.mark.parametrize('device_map', MAPS.values(), ids=MAPS)
def test_a_device_map_changes_nothing(folder, loaded, tmp_path, device_map):
    """Parts on the disk are brought by accelerate's hooks when they are called, as parts on another device are."""
    needs('accelerate')
    model, processor = loaded
    spread = AutoModelForImageTextToText.from_pretrained(folder, device_map=device_map, offload_folder=tmp_path)
    batch = list(tiny.conversations().values())
    inputs = processor.apply_chat_template(
        batch, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors='pt'
    )
    with torch.no_grad():
        torch.testing.assert_close(spread(**inputs).logits, model(**inputs).logits)
    how = dict(max_new_tokens=NEW, min_new_tokens=NEW)
    assert torch.equal(spread.generate(**inputs, **how), model.generate(**inputs, **how))


def test_an_automatic_device_map_splits_no_part_that_must_stay_together(loaded):
    accelerate = needs('accelerate')
    model, _ = loaded
    sizes = accelerate.utils.compute_module_sizes(model)
    for share in (0.3, 0.5, 0.7):
        memory = {0: int(sizes[''] * share), 'cpu': sizes['']}
        found = accelerate.infer_auto_device_map(model, memory, no_split_module_classes=model._no_split_modules)
        for name in found:
            assert name.count('.') < 2 or not name.startswith(('vision_encoder', 'resampler', 'gated_blocks'))
            assert '.self_attn' not in name


def test_texts_are_cut_and_padded_as_trainers_ask(loaded):
    _, processor = loaded
    messages = [*tiny.conversations()['context'], tiny.assistant('It is a seven.')]
    how = dict(tokenize=True, return_dict=True, return_tensors='pt', return_assistant_tokens_mask=True)
    whole = processor.apply_chat_template(messages, **how)
    length = whole['input_ids'][0].tolist().index(processor.image_token_id) + 2
    kwargs = dict(truncation=True, max_length=length, pad_to_multiple_of=16, add_special_tokens=False)
    for side in ('left', 'right'):
        cut = processor.apply_chat_template(messages, processor_kwargs={**kwargs, 'padding_side': side}, **how)
        real = cut['attention_mask'][0].bool()
        assert cut['input_ids'].shape[1] % 16 == 0
        assert torch.equal(cut['input_ids'][0][real], whole['input_ids'][0, :length])
        assert torch.equal(cut['pixel_values'], whole['pixel_values'][:, :1])  # of two marks one is left
        assert cut['assistant_masks'].shape == cut['input_ids'].shape
    text = processor.apply_chat_template(messages)
    with_bos, without = (
        processor(text=text, images=[tiny.picture(3), tiny.picture(4)], add_special_tokens=add)['input_ids'][0]
        for add in (True, False)
    )
    assert torch.equal(with_bos[1:], without)
    assert with_bos[0] == processor.tokenizer.bos_token_id
