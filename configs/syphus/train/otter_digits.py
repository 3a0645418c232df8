# The digits demo's model, trained on what configs/syphus/digits.py made; docs/tutorials/syphus.md has the steps.
_base_ = ['../../otter_demo.py']
made = 'work_dirs/syphus/digits'
augment = [dict(type='RandomAffine', degrees=12.0, translate=0.08, scale=(0.88, 1.12), shear=8.0)]
sources = [
    dict(
        type='MimicIt',
        images='data/otter_demo/DG.parquet',
        augment=augment,
        instructions=f'{made}/READ_instructions.json',
        train=f'{made}/READ_train.json',
    ),
]
train_dataloader = dict(dataset=dict(sources=sources))
max_iters = 200
train_cfg = dict(max_iters=max_iters)
