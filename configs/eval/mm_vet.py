"""MM-Vet, graded by a chat model (OPENAI_BASE_URL, OPENAI_API_KEY)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='MMVet',
        records='data/mm_vet',
        judge=dict(model='gpt-4o'),
    ),
    shots=[0],
)
