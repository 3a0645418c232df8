"""MagnifierBench: small things in large pictures, with options."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MagnifierBench',
        records='data/magnifier_bench',
    ),
    shots=[0],
)
