"""As hateful_memes.py, with the demonstrations whose pictures are most similar (RICES)."""

_base_ = ['hateful_memes.py']
evaluation = dict(
    demonstrations=dict(_delete_=True, type='Rices', features=['data/features/hateful_memes']), seeds=[42]
)
