# A tiny MultiModal-GPT: the first demo's Otter, frozen, with low-rank adapters (4.7 % of the parameters) that learn the
# unified instruction template from pictures, text alone and dialogues of three rounds, mixed in one stream. First:
# python tools/train.py configs/otter_demo.py
_base_ = ['otter_demo.py']

base = 'work_dirs/otter_demo/hf'
data = 'data/otter_demo'

load_from = base
model = dict(
    trainable=[],
    adapter=dict(
        type='LoRA',
        slots=dict(
            self_attention=dict(r=18, alpha=36),  # all that text without pictures has
            cross_attention=dict(r=8, alpha=16),
            gated_feedforward=dict(r=8, alpha=16),
        ),
    ),
)
tokenizer = dict(path=base)
template = dict(_delete_=True, type='MultiModalGPT')

augment = [dict(type='RandomAffine', degrees=12.0, translate=0.08, scale=(0.88, 1.12), shear=8.0)]
gentle = [dict(type='RandomAffine', degrees=5.0, translate=0.02, scale=(0.85, 1.0))]
digits = dict(type='MimicIt', images=f'{data}/DG.parquet', augment=augment)
composed = dict(type='MimicIt', images=f'{data}/DG.parquet', augment=gentle)
earlier_rounds = dict(type='RelatedInstructions')
sources = [
    # new to the model: instructions about pictures, dialogues, text alone
    dict(
        **digits,
        instructions=f'{data}/SMALL_instructions.json',
        media='each',
        num_samples=100,
    ),
    dict(
        **digits,
        instructions=f'{data}/SPELL_instructions.json',
        num_samples=60,
    ),
    dict(
        **digits,
        instructions=f'{data}/TALK_instructions.json',
        train=f'{data}/TALK_train.json',
        retriever=earlier_rounds,
        num_samples=500,
    ),
    dict(
        type='Alpaca',
        annotations=f'{data}/text_instructions.json',
        num_samples=300,
    ),
    # what the base can do, in the template that is new to it
    dict(
        **digits,
        instructions=f'{data}/NAME_instructions.json',
        train=f'{data}/NAME_train.json',
        retriever=earlier_rounds,
        num_samples=200,
    ),
    dict(
        **digits,
        instructions=f'{data}/READ_instructions.json',
        num_samples=60,
    ),
    dict(
        **digits,
        instructions=f'{data}/CMP_instructions.json',
        media='each',
        num_samples=40,
    ),
    dict(
        **digits,
        instructions=f'{data}/VID_instructions.json',
        kind='video',
        num_samples=40,
    ),
    dict(
        **composed,
        instructions=f'{data}/COUNT_instructions.json',
        num_samples=40,
    ),
]
train_dataloader = dict(dataset=dict(sources=sources, max_seq_len=192))
max_iters = 1200
optim_wrapper = dict(optimizer=dict(lr=4e-3, weight_decay=0.0), lr_factors=None)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, end=30),
    dict(type='CosineAnnealingLR', begin=30, eta_min_ratio=0.02),
]
train_cfg = dict(max_iters=max_iters)
evaluation = dict(_delete_=True, type='DigitInstructionsEvaluation', base=base)
