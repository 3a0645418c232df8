# First-person videos (Ego4D).
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/E4D_annotations.jsonl'
task = dict(type='EgocentricVideo', pairs=3)
