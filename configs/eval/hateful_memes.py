"""Hateful Memes, dev (seen): ROC-AUC by likelihood over six orders of the demonstrations (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='HatefulMemes',
        annotations='data/hateful_memes/dev_seen.jsonl',
        train_annotations='data/hateful_memes/train.jsonl',
        images='data/hateful_memes',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    permutations=6,
    batch_size=8,
)
