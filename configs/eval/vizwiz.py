"""VizWiz, validation: VQA accuracy. The protocol of OpenFlamingo (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='VQA',
        name='vizwiz',
        questions='data/vizwiz/val_questions_vqa_format.json',
        annotations='data/vizwiz/val_annotations_vqa_format.json',
        images='data/vizwiz/val',
        train_questions='data/vizwiz/train_questions_vqa_format.json',
        train_annotations='data/vizwiz/train_annotations_vqa_format.json',
        train_images='data/vizwiz/train',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    batch_size=8,
)
