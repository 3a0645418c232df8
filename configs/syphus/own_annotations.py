# Annotations of one's own: a prompt file and this config, no code. The input's lines look like
# {"id": "b1", "image_ids": ["BIRD_IMG_b1"], "annotation": {"species": "robin", "place": "a garden", "note": "..."}}
_base_ = ['_base_/syphus.py']
input = 'data/birds/annotations.jsonl'
task = dict(
    type='Annotations',
    name='BIRD',
    prompt='{{ fileDirname }}/prompts/birds.json',
    template='species: {species}\nplace: {place}\nobserver: {note}',
    pairs=3,
)
