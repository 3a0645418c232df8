# A tiny Otter, trained from scratch on a CPU in minutes, on real handwritten digits; then evaluated on held-out ones.
_base_ = ['_base_/runtime.py']

data = 'data/otter_demo'
width = 128

model = dict(
    type='Flamingo',
    vision_encoder=dict(
        type='ClipVision',
        config=dict(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=32,
            patch_size=16,
            initializer_range=0.2,
        ),
        mean=[0.3053] * 3,  # of the digits
        std=[0.3760] * 3,
    ),
    resampler=dict(
        type='PerceiverResampler',
        depth=1,
        num_latents=4,
        heads=4,
        head_width=32,
        max_frames=4,
        initial_scale=0.2,
    ),
    language_decoder=dict(
        type='CausalLM',
        config=dict(
            model_type='llama',
            hidden_size=width,
            intermediate_size=352,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=512,
            initializer_range=0.12,  # Llama's 0.02 is for wider models: binding names would take far longer
            tie_word_embeddings=True,
        ),
    ),
    cross_attention=dict(type='GatedCrossAttention', heads=4, head_width=32, feedforward_ratio=4, initial_gate=1.5),
    cross_attn_every_n_layers=2,
    attend='previous',
    without_media='skip',
    trainable=['*'],
)
tokenizer = dict(path=f'{data}/tokenizer')
template = dict(type='Otter')
image_transform = dict(size=32, resize='squash', interpolation='bicubic')

augment = [dict(type='RandomAffine', degrees=12.0, translate=0.08, scale=(0.88, 1.12), shear=8.0)]
digits = dict(type='MimicIt', images=f'{data}/DG.parquet', augment=augment)
# digits at the border of a composed picture must stay in it
gentle = [dict(type='RandomAffine', degrees=5.0, translate=0.02, scale=(0.85, 1.0))]
composed = dict(type='MimicIt', images=f'{data}/DG.parquet', augment=gentle)
related = 'RelatedInstructions'
sources = [
    dict(
        **digits,
        instructions=f'{data}/NAME_instructions.json',
        train=f'{data}/NAME_train.json',
        retriever=dict(type=related),
        num_samples=480,
    ),
    dict(
        **digits,
        instructions=f'{data}/READ_instructions.json',
        train=f'{data}/READ_train.json',
        retriever=dict(type=related, num=(2, 5)),
        num_samples=150,
    ),
    dict(
        **digits,
        instructions=f'{data}/CMP_instructions.json',
        train=f'{data}/CMP_train.json',
        retriever=dict(type=related, num=(0, 2)),
        media='each',
        num_samples=150,
    ),
    dict(
        **digits,
        instructions=f'{data}/CMP_instructions.json',
        train=f'{data}/CMP_train.json',
        retriever=dict(type=related, num=(0, 2)),
        num_samples=30,
    ),
    dict(
        **digits,
        instructions=f'{data}/VID_instructions.json',
        train=f'{data}/VID_train.json',
        retriever=dict(type=related, num=(0, 1)),
        kind='video',
        num_samples=110,
    ),
    dict(
        **composed,
        instructions=f'{data}/COUNT_instructions.json',
        train=f'{data}/COUNT_train.json',
        retriever=dict(type=related, num=(1, 5)),
        num_samples=230,
    ),
    dict(
        **digits,
        instructions=f'{data}/CONV_instructions.json',
        train=f'{data}/CONV_train.json',
        retriever=dict(type=related),
        marks='first',
        num_samples=30,
    ),
    dict(
        type='MimicIt',
        instructions=f'{data}/TXT_instructions.json',
        train=f'{data}/TXT_train.json',
        retriever=dict(type=related, num=(2, 4)),
        num_samples=20,
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
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
    lr_factors={'*embed_tokens*': 3.0, '*frame_embs': 10.0},
)
max_iters = 1650
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, end=70),
    dict(type='CosineAnnealingLR', begin=70, eta_min_ratio=0.02),
]
train_cfg = dict(type='IterLoop', max_iters=max_iters)
env_cfg = dict(num_threads=1, onednn=False)  # tensors are small, and the other core makes batches

data_builder = dict(type='DigitsBuilder')
evaluation = dict(type='DigitsEvaluation')
