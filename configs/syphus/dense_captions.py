# Events of videos (ActivityNet Captions); tools/dataset_converters/mimicit.py writes the input.
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/DC_annotations.jsonl'
task = dict(type='DenseCaptions', pairs=3)
