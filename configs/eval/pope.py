"""POPE: whether an object is there."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='POPE',
        records='data/pope',
    ),
    shots=[0],
)
