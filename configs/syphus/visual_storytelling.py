# Albums and their stories (VIST).
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/VST_annotations.jsonl'
task = dict(type='VisualStorytelling', pairs=3)
