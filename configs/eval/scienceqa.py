"""ScienceQA, with and without pictures."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='ScienceQA',
        records='data/scienceqa',
    ),
    shots=[0],
)
