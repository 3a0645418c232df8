"""SEED-Bench: the likeliest of four options."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='SeedBench',
        records='data/seed_bench/SEED-Bench.json',
        images='data/seed_bench/images',
    ),
    shots=[0],
)
