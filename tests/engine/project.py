"""A whole tiny project in a folder: MIMIC-IT files, a tokenizer and a config, as a user would have them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

COLOURS = ('red', 'green', 'blue', 'black', 'white')
CONFIG = """
custom_imports = dict(imports={imports})
template = dict(type='Otter', spacing='spaced')
tokenizer = dict(path='{folder}/tokenizer')
image_transform = dict(size=16)
model = dict(
    type='Flamingo',
    vision_encoder=dict(
        type='ClipVision',
        config=dict(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        ),
    ),
    resampler=dict(type='PerceiverResampler', depth=1, num_latents=2, heads=2, head_width=8),
    language_decoder=dict(
        type='CausalLM',
        config=dict(
            model_type='llama',
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            attention_dropout=0.2,
        ),
    ),
    cross_attention=dict(type='GatedCrossAttention', heads=2, head_width=8, feedforward_ratio=2),
    cross_attn_every_n_layers=1,
    attend='previous',
    without_media='skip',
    trainable=['resampler', 'gated_blocks', 'language_model'],
    train_embeddings='all',
)
train_dataloader = dict(
    batch_size=3,
    num_workers=0,
    dataset=dict(
        max_seq_len=64,
        sources=[
            dict(
                type='MimicIt',
                instructions='{folder}/CO_instructions.json',
                images='{folder}/CO.json',
                train='{folder}/CO_train.json',
                retriever=dict(type='RelatedInstructions', num=(0, 2)),
                augment=[dict(type='RandomAffine', degrees=20.0)],
                weight=2.0,
            ),
            dict(type='MimicIt', instructions='{folder}/TX_instructions.json', weight=1.0),
        ],
    ),
    sampler=dict(type='MixtureSampler', shuffle=True),
)
optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-3, weight_decay=0.01, betas=(0.9, 0.95)),
    accumulative_counts=3,
    clip_grad=dict(max_norm=1.0),
    precision='fp32',
    reduction='token',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=3),
    dict(type='CosineAnnealingLR', begin=3, T_max=9, eta_min_ratio=0.1),
]
train_cfg = dict(type='IterLoop', max_iters=12)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=2),
    progress=dict(type='ProgressHook', interval=4),
    checkpoint=dict(type='CheckpointHook', interval=4, max_keep_ckpts=2),
    samples=dict(type='SamplesHook', interval=6, num=2, max_new_tokens=4),
)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
randomness = dict(seed=0)
"""


def write_project(folder: Path, imports: tuple[str, ...] = (), replacements: dict[str, str] | None = None) -> Path:
    """Write data, tokenizer and config; give the config's path.

    Args:
        folder: where to.
        imports: of ``custom_imports``.
        replacements: texts of the config and what stands there instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder / 'tokenizer')
    instructions, images = {}, {}
    for number in range(10):
        colour = COLOURS[number % 5]
        picture = io.BytesIO()
        Image.new('RGB', (20, 20), colour).save(picture, 'PNG')
        images[f'CO_IMG_{number}'] = base64.b64encode(picture.getvalue()).decode()
        instructions[f'CO_INS_{number}'] = {
            'instruction': 'what colour is this',
            'answer': colour,
            'image_ids': [f'CO_IMG_{number}'],
            'rel_ins_ids': [f'CO_INS_{(number + 3) % 10}', f'CO_INS_{(number + 7) % 10}'],
        }
    texts = {
        f'TX_INS_{n}': {'instruction': f'say {c}', 'answer': c, 'image_ids': [], 'rel_ins_ids': []}
        for n, c in enumerate(COLOURS)
    }
    for name, data in (('CO', instructions), ('TX', texts)):
        meta = {'version': '0.0.1', 'time': '2023-06', 'author': 'test'}
        (folder / f'{name}_instructions.json').write_text(json.dumps({'meta': meta, 'data': data}))
    (folder / 'CO.json').write_text(json.dumps(images))
    (folder / 'CO_train.json').write_text(json.dumps({k: v['rel_ins_ids'] for k, v in instructions.items()}))
    text = CONFIG.replace('{folder}', str(folder)).replace('{imports}', repr(list(imports)))
    for old, new in (replacements or {}).items():
        text = text.replace(old, new)
    path = folder / 'tiny.py'
    path.write_text(text)
    return path


def write_tokenizer(folder: Path) -> None:
    words = ['<unk>', '<s>', '</s>', 'User', 'GPT', ':', 'what', 'colour', 'is', 'this', 'say', *COLOURS]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token='<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token='<unk>', bos_token='<s>', eos_token='</s>')
    fast.save_pretrained(folder)
