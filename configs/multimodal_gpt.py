# MultiModal-GPT (arXiv 2305.04790): OpenFlamingo-9B on LLaMA-7B, frozen, with low-rank adapters in the decoder's
# self-attention, the cross-attention and the gated feed-forward: 23,461,888 trained parameters. 8 GPUs, a sample each,
# one epoch of the pictures; a batch with pictures and one of language alone take turns, 16 of each to a step. Set
# load_from to the folder that tools/convert.py makes of OpenFlamingo-9B (docs/checkpoints.md); the picture stands
# before its text, so text looks at the previous one.
_base_ = ['_base_/runtime.py', '_base_/otter_9b.py']

model = dict(
    without_media='skip',
    trainable=[],
    train_embeddings=None,
    adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention', 'gated_feedforward'], r=16, alpha=16),
)
template = dict(_delete_=True, type='MultiModalGPT')
image_transform = dict(resize='short_side_crop')

data = 'data'
data_builder = dict(type='MultiModalGPTFiles', folder=data)
coco_2017 = f'{data}/coco/train2017'
with_pictures = [
    dict(
        type='Llava',
        annotations=f'{data}/llava/detail_23k.json',
        images=coco_2017,
    ),
    dict(
        type='Llava',
        annotations=f'{data}/llava/complex_reasoning_77k.json',
        images=coco_2017,
    ),
    dict(
        type='Llava',
        annotations=f'{data}/llava/conversation_58k.json',
        images=coco_2017,
        dialogue=True,
    ),
    dict(
        type='AOkVqa',
        annotations=f'{data}/aokvqa/annotations/aokvqa_v1p0_train.json',
        images=f'{data}/coco',
        sample=5000,
    ),
    dict(
        type='MiniGPT4',
        annotations=f'{data}/cc_sbu_align/filter_cap.json',
        images=f'{data}/cc_sbu_align/image',
    ),
    dict(
        type='CocoCaption',
        annotations=[
            f'{data}/coco/annotations/coco_karpathy_train.json',
            f'{data}/coco/annotations/coco_karpathy_val.json',
        ],
        images=f'{data}/coco',
        sample=512,
    ),
    dict(
        type='OcrVqa',
        annotations=f'{data}/OCR_VQA/dataset.json',
        images=f'{data}/OCR_VQA/image',
        split=1,  # training
        sample=512,
    ),
]
language_only = [
    dict(type='Dolly', annotations=f'{data}/dolly/databricks-dolly-15k.jsonl'),
    dict(type='Alpaca', annotations=f'{data}/alpaca_gpt4/alpaca_gpt4_data.json'),
    dict(type='Baize', annotations=f'{data}/baize/quora_chat_data.json'),
]
train_dataloader = dict(
    batch_size=1,
    num_workers=4,
    dataset=dict(sources=with_pictures + language_only, max_seq_len=512),
    sampler=dict(type='AlternatingSampler'),
)

max_iters = 2 * 168_000 // 8  # as many batches of language as of pictures; 8 GPUs
optim_wrapper = dict(
    type='AccumulatingOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-5, betas=(0.9, 0.999), weight_decay=0.1),
    accumulative_counts=32,
    clip_grad=dict(max_norm=1.0),
    precision='bf16',
    reduction='batch',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=3200),  # 100 steps of the optimiser
    dict(type='CosineAnnealingLR', begin=3200, eta_min=0.0),
]
train_cfg = dict(type='IterLoop', max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=256)
