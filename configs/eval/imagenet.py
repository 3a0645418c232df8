"""ImageNet, validation: the likeliest of 1000 names, top-1 and top-5; six orders of the demonstrations."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='ImageNet',
        images='data/imagenet/val',
        train_images='data/imagenet/train',
        classes='data/imagenet/classes.json',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    permutations=6,
    batch_size=8,
)
