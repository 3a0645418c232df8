"""VL-ICL Bench, CLEVR counting: how many things have the attribute?"""

evaluation = dict(
    type='Evaluation',
    task=dict(type='CLEVRCount', folder='data/vl_icl'),
    shots=[0, 1, 2, 4, 8],
    seeds=[0, 1, 2],
    batch_size=8,
)
