# Question sets on memes; about='funny_video' for funny videos (FunQA).
_base_ = ['_base_/syphus.py']
input = 'data/memes/MEME_annotations.jsonl'
task = dict(type='QuestionSet', about='meme', pairs=4)
