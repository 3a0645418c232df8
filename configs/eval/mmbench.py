"""MMBench, each question asked once for each rotation of its options."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MMBench',
        records='data/mmbench/mmbench_dev_20230712.tsv',
        circular=True,
    ),
    shots=[0],
)
