# Rooms that something is planned in (ScanNet with ScanRefer).
_base_ = ['_base_/syphus.py']
input = 'data/mimicit/SN_annotations.jsonl'
task = dict(type='IndoorScenes', pairs=3)
