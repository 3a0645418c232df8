"""As ok_vqa.py, with the demonstrations whose pictures are most similar (RICES)."""

_base_ = ['ok_vqa.py']
evaluation = dict(demonstrations=dict(_delete_=True, type='Rices', features=['data/features/coco']), seeds=[42])
