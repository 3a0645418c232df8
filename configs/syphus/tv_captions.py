# Clips of TV series (TVR/TVC).
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/TVC_annotations.jsonl'
task = dict(type='TVCaptions', pairs=3)
