# A tiny Otter, trained from scratch on a CPU on letters of Latin and Cyrillic; then it names those of unknown scripts.
_base_ = ['_base_/runtime.py']

data = 'data/characters_demo'
width = 128

model = dict(
    type='Flamingo',
    # four patches, each of which sees about the whole picture: so few that they need no resampler
    vision_encoder=dict(type='ConvVision', channels=(32, 64, width, width), mean=[0.107] * 3, std=[0.288] * 3),
    resampler=dict(type='AllPatches'),
    language_decoder=dict(
        type='CausalLM',
        config=dict(
            model_type='llama',
            hidden_size=width,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=512,
            initializer_range=0.12,
            tie_word_embeddings=True,
        ),
    ),
    cross_attention=dict(type='GatedCrossAttention', heads=4, head_width=32, feedforward_ratio=4, initial_gate=1.5),
    cross_attn_every_n_layers=1,  # the first layer must see pictures: one that copies names without them keeps doing so
    attend='previous',
    without_media='skip',
    trainable=['*'],
)
tokenizer = dict(path=f'{data}/tokenizer')
template = dict(type='Otter')
image_transform = dict(size=32, resize='squash', interpolation='bicubic')

augment = [dict(type='RandomAffine', degrees=8.0, translate=0.08, scale=(0.85, 1.15), shear=8.0)]
letters = dict(type='MimicIt', images=f'{data}/CH.parquet', augment=augment)
# what stands at the border of a composed picture must stay in it
gentle = [dict(type='RandomAffine', degrees=3.0, translate=0.02, scale=(0.9, 1.0))]
composed = dict(type='MimicIt', images=f'{data}/CH.parquet', augment=gentle)
related = 'RelatedInstructions'
sources = [
    dict(
        **letters,
        instructions=f'{data}/NAME_instructions.json',
        train=f'{data}/NAME_train.json',
        retriever=dict(type=related),
        num_samples=450,
    ),
    dict(
        **letters,
        instructions=f'{data}/READ_instructions.json',
        train=f'{data}/READ_train.json',
        retriever=dict(type=related, num=(5, 7)),
        num_samples=300,
    ),
    dict(
        **letters,
        instructions=f'{data}/SPOT_instructions.json',
        train=f'{data}/SPOT_train.json',
        retriever=dict(type=related, num=(0, 2)),
        media='each',
        num_samples=80,
    ),
    dict(
        **composed,
        instructions=f'{data}/WORD_instructions.json',
        train=f'{data}/WORD_train.json',
        retriever=dict(type=related, num=(1, 4)),
        num_samples=90,
    ),
    dict(
        **composed,
        instructions=f'{data}/COUNT_instructions.json',
        train=f'{data}/COUNT_train.json',
        retriever=dict(type=related, num=(1, 4)),
        num_samples=80,
    ),
]
train_dataloader = dict(
    batch_size=64,
    padding_free=True,
    num_workers=1,
    prefetch_factor=4,
    dataset=dict(sources=sources, max_seq_len=128, keep_pictures=64),
    sampler=dict(type='MixtureSampler'),
)

optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    lr_factors={'*embed_tokens*': 3.0},
)
max_iters = 2000
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, end=60),
    dict(type='CosineAnnealingLR', begin=60, eta_min_ratio=0.02),
]
train_cfg = dict(type='IterLoop', max_iters=max_iters)
env_cfg = dict(num_threads=1, onednn=False)  # tensors are small, and the other core makes batches

data_builder = dict(type='CharactersBuilder')
evaluation = dict(type='CharactersEvaluation')
