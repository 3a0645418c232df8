"""MathVista; a chat model reads what the rules cannot (OPENAI_BASE_URL, OPENAI_API_KEY)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MathVista',
        records='data/math_vista/testmini.json',
        images='data/math_vista',
        extractor=dict(model='gpt-4o'),
    ),
    shots=[0],
)
