"""VL-ICL Bench, operator induction with a picture for each number."""

evaluation = dict(
    type='Evaluation',
    task=dict(type='OperatorInduction', folder='data/vl_icl', interleaved=True),
    shots=[0, 1, 2, 4, 8],
    seeds=[0, 1, 2],
    batch_size=8,
)
