"""MMAGIBench, judged by a chat model (OPENAI_BASE_URL, OPENAI_API_KEY)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MMAGIBench',
        records='data/mmagibench/mmagi_v030_dev_inferin.tsv',
        judge=dict(model='gpt-4o'),
    ),
    shots=[0],
)
