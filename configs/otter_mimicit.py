# Otter 9 B, tuned in context on MIMIC-IT's LLaVA-interleaved sets (arXiv 2305.03726): 4 GPUs, 6 epochs, AdamW, cosine
# decay, gradients clipped. Each process holds the 9 B parameters in float32 and trains 1.441 B of them: 80 GB a GPU.
# The published runs began with OpenFlamingo-9B: set load_from to the folder that tools/convert.py makes of it
# (docs/checkpoints.md).
_base_ = ['_base_/runtime.py', '_base_/otter_9b.py']

data = 'data/mimicit'
data_builder = dict(type='MimicItFiles', folder=data, sets=['LA'])
in_context = dict(
    type='MimicIt',
    images=f'{data}/LA/LA.parquet',
    retriever=dict(type='RelatedInstructions', num=2),
)
samples = 4  # of a packed row, estimated; the first lines of a run's log say how many batches an epoch has
train_dataloader = dict(
    batch_size=1,  # rows
    num_workers=4,
    dataset=dict(
        max_seq_len=1024,
        sources=[
            dict(
                **in_context,
                instructions=f'{data}/LA/LACR_I2I_instructions.json',
                train=f'{data}/LA/LACR_I2I_train.json',
            ),
            dict(
                **in_context,
                instructions=f'{data}/LA/LACR_T2T_instructions.json',
                train=f'{data}/LA/LACR_T2T_train.json',
            ),
            dict(
                **in_context,
                instructions=f'{data}/LA/LACONV_instructions.json',
                train=f'{data}/LA/LACONV_train.json',
                marks='first',  # the rounds of one conversation share its picture
            ),
            dict(
                type='MimicIt',
                images=f'{data}/LA/LA.parquet',
                instructions=f'{data}/LA/LADD_instructions.json',
                train=f'{data}/LA/LADD_train.json',
            ),
        ],
    ),
    sampler=dict(type='PackingSampler', row_length=1344, workers=1),  # four a batch would be padding by 40 %
)

max_iters = 6 * 345_000 // (4 * samples)  # epochs * samples // (4 GPUs * samples of a row)
optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), weight_decay=0.1),
    clip_grad=dict(max_norm=1.0),
    precision='bf16',
    no_decay=['resampler.*', '*_gate'],  # as published, only the gated blocks' matrices decay
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1000),
    dict(type='CosineAnnealingLR', begin=1000, eta_min=0.0),
]
train_cfg = dict(type='IterLoop', max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=4 * samples)
