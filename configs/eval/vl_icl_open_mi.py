"""VL-ICL Bench, fast open-ended naming: made-up names of two kinds; a shot is a picture of each."""

evaluation = dict(
    type='Evaluation',
    task=dict(type='OpenMiniImageNet', folder='data/vl_icl'),
    shots=[0, 1, 2, 4, 5],
    seeds=[0, 1, 2],
    batch_size=8,
)
