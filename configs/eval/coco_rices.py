"""As coco.py, with the demonstrations whose pictures are most similar (RICES)."""

_base_ = ['coco.py']
evaluation = dict(demonstrations=dict(_delete_=True, type='Rices', features=['data/features/coco']), seeds=[42])
