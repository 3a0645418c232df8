"""VL-ICL Bench, operator induction: which operator is it, and what comes of it?"""

evaluation = dict(
    type='Evaluation',
    task=dict(type='OperatorInduction', folder='data/vl_icl'),
    shots=[0, 1, 2, 4, 8],
    seeds=[0, 1, 2],
    batch_size=8,
)
