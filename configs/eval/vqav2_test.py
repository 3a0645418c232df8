"""VQAv2, test-dev: a file for the test server, which lists the questions of the whole test set; no figures."""

_base_ = ['vqav2.py']
evaluation = dict(
    task=dict(
        questions='data/vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json',
        annotations=None,
        images='data/coco/test2015',
        all_questions='data/vqav2/v2_OpenEnded_mscoco_test2015_questions.json',
    ),
    seeds=[42],
)
