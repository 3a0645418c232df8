# Pairs of pictures of one place (Spot-the-Diff).
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/SD_annotations.jsonl'
task = dict(type='SpotTheDifference', pairs=2)
