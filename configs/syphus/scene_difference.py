# Pairs of similar pictures (COCO).
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/CGD_annotations.jsonl'
task = dict(type='SceneDifference', pairs=3)
