"""As flickr30k.py, with the demonstrations whose pictures are most similar (RICES)."""

_base_ = ['flickr30k.py']
evaluation = dict(demonstrations=dict(_delete_=True, type='Rices', features=['data/features/flickr30k']), seeds=[42])
