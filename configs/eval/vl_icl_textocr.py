"""VL-ICL Bench, TextOCR: the word in the red box."""

evaluation = dict(
    type='Evaluation',
    task=dict(type='TextOCR', folder='data/vl_icl'),
    shots=[0, 1, 2, 4, 8],
    seeds=[0, 1, 2],
    batch_size=8,
)
