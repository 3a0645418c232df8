"""As vizwiz.py, with the demonstrations whose pictures are most similar (RICES)."""

_base_ = ['vizwiz.py']
evaluation = dict(demonstrations=dict(_delete_=True, type='Rices', features=['data/features/vizwiz']), seeds=[42])
