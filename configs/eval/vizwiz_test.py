"""VizWiz, test: a file in the form of its test server; no figures."""

_base_ = ['vizwiz.py']
evaluation = dict(
    task=dict(questions='data/vizwiz/test_questions_vqa_format.json', annotations=None, images='data/vizwiz/test'),
    seeds=[42],
)
