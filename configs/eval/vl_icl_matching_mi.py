"""VL-ICL Bench, fast matching: do two pictures match? A shot is a pair that does and one that does not."""

evaluation = dict(
    type='Evaluation',
    task=dict(type='MatchingMiniImageNet', folder='data/vl_icl'),
    shots=[0, 1, 2, 4, 5],
    seeds=[0, 1, 2],
    batch_size=8,
)
