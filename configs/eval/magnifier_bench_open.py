"""MagnifierBench without its options, judged by a chat model (OPENAI_BASE_URL, OPENAI_API_KEY)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MagnifierBenchOpen',
        records='data/magnifier_bench',
        judge=dict(model='gpt-4o'),
    ),
    shots=[0],
)
