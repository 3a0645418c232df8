# What the configs of Syphus share. The address and the key come from OPENAI_BASE_URL and OPENAI_API_KEY.
endpoint = dict(
    model='gpt-4o-mini',
    concurrency=32,
    requests_per_minute=None,  # as the endpoint lets us
    tokens_per_minute=None,
    max_tokens=1024,
    sampling=dict(temperature=0.7, top_p=0.95),
    price=dict(input=0.15, output=0.60),  # money for a million tokens; look it up for your model
    budget=dict(max_cost=20.0),
)
form = 'json'  # replies by JSON schema where the endpoint knows schemas; 'text': the published lines
max_asks = 3
filters = [
    dict(type='Empty'),
    dict(type='Length', instruction=(2, 120), answer=(1, 400)),
    dict(type='Refusals'),
    dict(type='Leakage'),
    dict(type='OtherLanguage', language='en'),
    dict(type='Ungrounded', counted=3),
    dict(type='Unsafe'),
    dict(type='Duplicates'),
    dict(type='NearDuplicates', threshold=0.8),
]
translation = dict(languages=['zh', 'ja', 'es', 'de', 'fr', 'ko', 'ar'], max_asks=2)
