"""MSRVTT-QA: questions about videos, rated by a chat model (OPENAI_BASE_URL, OPENAI_API_KEY)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='VideoQA',
        name='msrvtt_qa',
        records='data/msrvtt_qa/test.json',
        videos='data/msrvtt_qa/videos',
        judge=dict(model='gpt-4o'),
    ),
    shots=[0],
)
