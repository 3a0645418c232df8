# MultiModal-GPT (arXiv 2305.04790): OpenFlamingo-9B on LLaMA-7B, frozen, with low-rank adapters in the decoder's
# self-attention, the cross-attention and the gated feed-forward: 23,461,888 trained parameters. 8 GPUs, a sample each,
# 16 micro-steps, one epoch of LLaVA's detailed descriptions, reasoning and dialogues, which are MIMIC-IT's LA set.
# A source without images joins language-only instructions to them. Set load_from to a folder with OpenFlamingo-9B's
# resampler and gated blocks; the picture stands before its text, so text looks at the previous one.
_base_ = ['_base_/runtime.py', '_base_/otter_9b.py']

model = dict(
    without_media='skip',
    trainable=[],
    train_embeddings=None,
    adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention', 'gated_feedforward'], r=16, alpha=16),
)
template = dict(_delete_=True, type='MultiModalGPT')
image_transform = dict(resize='short_side_crop')

data = 'data/mimicit'
data_builder = dict(type='MimicItFiles', folder=data, sets=['LA'])
train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(
        max_seq_len=512,
        sources=[
            dict(
                type='MimicIt',
                instructions=f'{data}/LA/LADD_instructions.json',
                images=f'{data}/LA/LA.parquet',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/LA/LACR_I2I_instructions.json',
                images=f'{data}/LA/LA.parquet',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/LA/LACONV_instructions.json',
                images=f'{data}/LA/LA.parquet',
                train=f'{data}/LA/LACONV_train.json',
                retriever=dict(type='RelatedInstructions'),
                marks='first',  # a dialogue about one picture
            ),
        ],
    ),
    sampler=dict(type='MixtureSampler'),
)

max_iters = 158_000 // 8  # samples // GPUs
optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), weight_decay=0.1),
    accumulative_counts=16,
    clip_grad=dict(max_norm=1.0),
    precision='bf16',
    reduction='batch',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1600),  # 100 steps of the optimiser
    dict(type='CosineAnnealingLR', begin=1600, eta_min=0.0),
]
train_cfg = dict(type='IterLoop', max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=128)
