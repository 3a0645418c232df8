# Conversation, detail and reasoning on pictures with captions and boxes (COCO): LACONV, LADD and LACR.
_base_ = ['_base_/syphus.py']
input = 'data/coco/LA_annotations.jsonl'
task = dict(type='CaptionsAndBoxes', kinds=('conversation', 'detail', 'reasoning'), pairs=3)
