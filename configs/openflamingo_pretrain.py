# OpenFlamingo-9B on MPT-7B, pretrained on captioned pictures (LAION-2B) and web pages (MMC4), arXiv 2308.01390: 64 GPUs
# with 96 samples each, two captions for a page. The resampler, the gated blocks and the two new tokens are trained. The
# loss is the mean over the trained tokens of both sets, weighted; the published one adds the means of each.
_base_ = ['_base_/runtime.py', '_base_/otter_9b.py']

model = dict(
    language_decoder=dict(
        _delete_=True,
        type='MPT',
        weights='mosaicml/mpt-7b',
        dtype='float32',  # the new tokens' rows are trained, and small steps are lost in half precision
        config=dict(model_type='mpt', vocab_size=50432, d_model=4096, n_heads=32, n_layers=32, max_seq_len=2048),
    ),
    train_embeddings='new',
)
tokenizer = dict(path='mosaicml/mpt-7b')
template = dict(_delete_=True, type='Interleaved', bos=False)
image_transform = dict(resize='short_side_crop')

data = 'data'
data_builder = dict(type='PretrainingFiles', folder=data)
flip = [dict(type='RandomFlip', share=0.5)]
train_dataloader = dict(
    batch_size=96,
    num_workers=8,
    dataset=dict(
        sources=[
            dict(
                type='ImageTextTars',
                shards=f'{data}/laion',
                num_samples=250_000,  # of an epoch; the next one goes on with others
                max_seq_len=32,
                loss_weight=0.2,
                augment=flip,
            ),
            dict(
                type='Mmc4',
                shards=f'{data}/mmc4',
                min_similarity=0.24,
                max_images=6,
                num_samples=125_000,
                max_seq_len=256,
                loss_weight=1.0,
                # attend_next=0.5,  # text of half of the pages sees the next picture: Flamingo's, not OpenFlamingo's
                augment=flip,
            ),
        ],
    ),
    sampler=dict(type='MixtureSampler'),
)

max_iters = 480 * 375_000 // (64 * 96)  # epochs * samples // (GPUs * samples)
optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1),
    clip_grad=dict(max_norm=1.0),
    precision='bf16',
    no_decay=['resampler.*', '*_gate'],
)
param_scheduler = [dict(type='LinearLR', start_factor=0.001, end=1875)]  # and constant from there
train_cfg = dict(type='IterLoop', max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=64 * 96)
