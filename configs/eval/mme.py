"""MME: two questions of yes and no about each picture."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MME',
        records='data/mme',
    ),
    shots=[0],
)
