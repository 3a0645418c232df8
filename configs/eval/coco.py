"""COCO captions, Karpathy test split: CIDEr. The protocol of OpenFlamingo (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='Captions',
        name='coco',
        annotations='data/coco/dataset_coco.json',
        images='data/coco/train2014',
        val_images='data/coco/val2014',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    batch_size=8,
)
