"""OK-VQA, validation: VQA accuracy of stems. The protocol of OpenFlamingo (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='VQA',
        name='ok_vqa',
        questions='data/ok_vqa/OpenEnded_mscoco_val2014_questions.json',
        annotations='data/ok_vqa/mscoco_val2014_annotations.json',
        images='data/coco/val2014',
        train_questions='data/ok_vqa/OpenEnded_mscoco_train2014_questions.json',
        train_annotations='data/ok_vqa/mscoco_train2014_annotations.json',
        train_images='data/coco/train2014',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    batch_size=8,
)
