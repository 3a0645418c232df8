"""As textvqa.py, with the demonstrations whose pictures are most similar (RICES)."""

_base_ = ['textvqa.py']
evaluation = dict(demonstrations=dict(_delete_=True, type='Rices', features=['data/features/textvqa']), seeds=[42])
