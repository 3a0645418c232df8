# The pictures of the digits demo, annotated through Syphus; configs/syphus/train/otter_digits.py trains on the result.
_base_ = ['_base_/syphus.py']
input = 'data/syphus_digits/annotations.jsonl'
task = dict(type='Annotations', name='READ', prompt='{{ fileDirname }}/prompts/digits.json', relate='none', pairs=2)
filters = [
    dict(type='Empty'),
    dict(type='Length'),
    dict(type='Refusals'),
    dict(type='Leakage'),
    dict(type='Ungrounded', counted=0),
]
translation = dict(_delete_=True, languages=[])
