# Otter on MPT-7B, as its README trains the image model: 8 GPUs, 3 epochs, 2e-5, cosine decay after 1 % of warm-up.
_base_ = ['otter_mimicit.py']

model = dict(
    language_decoder=dict(
        _delete_=True,
        type='MPT',
        weights='mosaicml/mpt-7b',
        dtype='float32',
        config=dict(model_type='mpt', vocab_size=50432, d_model=4096, n_heads=32, n_layers=32, max_seq_len=2048),
    ),
)
tokenizer = dict(path='mosaicml/mpt-7b')
template = dict(type='Otter', spacing='compact')

samples = 2 * 4  # of a batch of two packed rows, estimated
max_iters = 3 * 345_000 // (8 * samples)  # epochs * samples // (8 GPUs * samples of a batch)
warmup = max_iters // 100
train_dataloader = dict(batch_size=2)  # rows
optim_wrapper = dict(optimizer=dict(lr=2e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup),
    dict(type='CosineAnnealingLR', begin=warmup, eta_min=0.0),
]
train_cfg = dict(max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=8 * samples)
