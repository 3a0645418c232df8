"""TextVQA, validation: VQA accuracy. The protocol of OpenFlamingo (arXiv 2308.01390)."""

evaluation = dict(
    type='Evaluation',
    task=dict(
        type='VQA',
        name='textvqa',
        questions='data/textvqa/val_questions_vqa_format.json',
        annotations='data/textvqa/val_annotations_vqa_format.json',
        images='data/textvqa/train_images',
        train_questions='data/textvqa/train_questions_vqa_format.json',
        train_annotations='data/textvqa/train_annotations_vqa_format.json',
        train_images='data/textvqa/train_images',
    ),
    shots=[0, 4, 8, 16, 32],
    seeds=[42, 43, 44],
    demonstrations=dict(type='Random', pool_size=2048),
    zero_shot='text_only',
    batch_size=8,
)
