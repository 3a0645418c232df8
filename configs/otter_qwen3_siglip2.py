# A current Otter: SigLIP 2 so400m at 384 pixels, Qwen3-4B, a gated block before every fourth layer, pictures, picture
# sets and videos of MIMIC-IT. No published resampler and gated blocks fit these towers: they begin from scratch, hence
# the higher learning rate, the gates that open slowly, and the detailed descriptions among the sources. 8 GPUs.
_base_ = ['_base_/runtime.py']

model = dict(
    type='Flamingo',
    vision_encoder=dict(
        type='SiglipVision',
        weights='google/siglip2-so400m-patch16-384',
        config=dict(
            hidden_size=1152,
            intermediate_size=4304,
            num_hidden_layers=27,
            num_attention_heads=16,
            image_size=384,
            patch_size=16,
        ),
    ),
    resampler=dict(type='PerceiverResampler', depth=6, num_latents=64, heads=8, head_width=96, max_frames=32),
    language_decoder=dict(
        type='CausalLM',
        weights='Qwen/Qwen3-4B',
        dtype='float32',  # the added tokens' rows are trained, and small steps are lost in half precision
        config=dict(
            model_type='qwen3',
            vocab_size=151936,
            hidden_size=2560,
            intermediate_size=9728,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            head_dim=128,
            max_position_embeddings=40960,
            rms_norm_eps=1e-6,
            rope_parameters=dict(rope_type='default', rope_theta=1_000_000.0),
            tie_word_embeddings=True,
        ),
    ),
    cross_attention=dict(type='GatedCrossAttention', heads=16, head_width=64, feedforward_ratio=4),
    cross_attn_every_n_layers=4,
    attend='previous',
    without_media='skip',  # a text-only sample is answered as by Qwen3 itself
    trainable=['resampler', 'gated_blocks'],
    train_embeddings='new',
)
tokenizer = dict(path='Qwen/Qwen3-4B')
template = dict(type='Otter', spacing='compact')
image_transform = dict(size=384, resize='squash', interpolation='bicubic')

data = 'data/mimicit'
related = dict(type='RelatedInstructions', num=(0, 2))


def mimicit(set_, part=None, **options):
    """A part of a set of MIMIC-IT, with up to two related instructions before each."""
    folder, part = f'{data}/{set_}', part or set_
    files = dict(instructions=f'{folder}/{part}_instructions.json', train=f'{folder}/{part}_train.json')
    return dict(type='MimicIt', images=f'{folder}/{set_}.parquet', retriever=related, **files, **options)


data_builder = dict(type='MimicItFiles', folder=data, sets=['LA', 'SD', 'CGD', 'SN', 'VST', 'DC', 'TVC'])
samples = 12  # of a packed row, estimated; the first lines of a run's log say how many batches an epoch has
train_dataloader = dict(
    batch_size=1,  # rows
    num_workers=8,
    dataset=dict(
        max_seq_len=2048,
        sources=[
            mimicit('LA', 'LADD'),
            mimicit('LA', 'LACR_I2I'),
            mimicit('LA', 'LACR_T2T'),
            mimicit('LA', 'LACONV', marks='first'),  # the rounds of one conversation share its picture
            mimicit('SD', marks='first'),
            mimicit('CGD', marks='first'),
            mimicit('SN', marks='first'),
            mimicit('VST', marks='first'),
            mimicit('DC', marks='first', kind='video', max_frames=32),
            mimicit('TVC', marks='first', kind='video', max_frames=16),
        ],
    ),
    sampler=dict(type='PackingSampler', row_length=2560, workers=2),  # several samples a row, hardly any padding
)

max_iters = 3 * 600_000 // (8 * samples)  # epochs * samples // (8 GPUs * samples of a row)
warmup = 3 * max_iters // 100
optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    precision='bf16',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=warmup),
    dict(type='CosineAnnealingLR', begin=warmup, eta_min_ratio=0.1),
]
train_cfg = dict(type='IterLoop', max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=8 * samples)
