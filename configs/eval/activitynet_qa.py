"""ActivityNet-QA: questions about videos, rated by a chat model (OPENAI_BASE_URL, OPENAI_API_KEY)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='VideoQA',
        name='activitynet_qa',
        records='data/activitynet_qa/test.json',
        videos='data/activitynet_qa/videos',
        judge=dict(model='gpt-4o'),
    ),
    shots=[0],
)
