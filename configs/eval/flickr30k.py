"""Flickr30k captions, Karpathy test split: CIDEr. The protocol of OpenFlamingo (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='Captions',
        name='flickr30k',
        annotations='data/flickr30k/dataset_flickr30k.json',
        images='data/flickr30k/flickr30k-images',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    batch_size=8,
)
