"""VQAv2, validation: VQA accuracy. The protocol of OpenFlamingo (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='VQA',
        name='vqav2',
        questions='data/vqav2/v2_OpenEnded_mscoco_val2014_questions.json',
        annotations='data/vqav2/v2_mscoco_val2014_annotations.json',
        images='data/coco/val2014',
        train_questions='data/vqav2/v2_OpenEnded_mscoco_train2014_questions.json',
        train_annotations='data/vqav2/v2_mscoco_train2014_annotations.json',
        train_images='data/coco/train2014',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    batch_size=8,
)
