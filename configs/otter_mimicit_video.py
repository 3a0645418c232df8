# Otter with picture sets and videos (arXiv 2305.03726, second version): all of MIMIC-IT but Ego4D, 6 epochs at 1e-5,
# cosine decay after 3 % of warm-up. A video is one medium; the resampler learns an embedding for each place in it.
_base_ = ['otter_mimicit.py']

model = dict(resampler=dict(max_frames=128))
data = 'data/mimicit'
data_builder = dict(sets=['LA', 'SD', 'CGD', 'SN', 'VST', 'DC', 'TVC'])
related = dict(type='RelatedInstructions', num=(0, 2))
train_dataloader = dict(
    batch_size=4,
    sampler=dict(_delete_=True, type='MixtureSampler'),  # a packed row's frames would have no limit
    dataset=dict(
        sources=[
            dict(
                type='MimicIt',
                instructions=f'{data}/LA/LACR_I2I_instructions.json',
                images=f'{data}/LA/LA.parquet',
                train=f'{data}/LA/LACR_I2I_train.json',
                retriever=related,
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/LA/LACONV_instructions.json',
                images=f'{data}/LA/LA.parquet',
                train=f'{data}/LA/LACONV_train.json',
                retriever=related,
                marks='first',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/SD/SD_instructions.json',
                images=f'{data}/SD/SD.parquet',
                train=f'{data}/SD/SD_train.json',
                retriever=related,
                marks='first',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/CGD/CGD_instructions.json',
                images=f'{data}/CGD/CGD.parquet',
                train=f'{data}/CGD/CGD_train.json',
                retriever=related,
                marks='first',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/SN/SN_instructions.json',
                images=f'{data}/SN/SN.parquet',
                train=f'{data}/SN/SN_train.json',
                retriever=related,
                marks='first',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/VST/VST_instructions.json',
                images=f'{data}/VST/VST.parquet',
                train=f'{data}/VST/VST_train.json',
                retriever=related,
                marks='first',
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/DC/DC_instructions.json',
                images=f'{data}/DC/DC.parquet',
                train=f'{data}/DC/DC_train.json',
                retriever=related,
                marks='first',
                kind='video',
                max_frames=32,
            ),
            dict(
                type='MimicIt',
                instructions=f'{data}/TVC/TVC_instructions.json',
                images=f'{data}/TVC/TVC.parquet',
                train=f'{data}/TVC/TVC_train.json',
                retriever=related,
                marks='first',
                kind='video',
                max_frames=16,
            ),
        ],
    ),
)
max_iters = 6 * 500_000 // 16  # epochs * samples // (4 GPUs * 4 samples)
warmup = 3 * max_iters // 100
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup),
    dict(type='CosineAnnealingLR', begin=warmup, eta_min=0.0),
]
train_cfg = dict(max_iters=max_iters)
