"""The keys that a config may have, each with what its value should be; those of plugins are found in their code."""

from __future__ import annotations

from typing import Literal

from mmengine import Config

from mmgpt.engine.signatures import Argument, Arguments

TOP_LEVEL: Arguments = {
    'model': Argument(dict, required=True),
    'tokenizer': Argument(dict, required=True),
    'template': Argument(dict, required=True),
    'image_transform': Argument(dict, required=True),
    'train_dataloader': Argument(dict, required=True),
    'train_cfg': Argument(dict, required=True),
    'optim_wrapper': Argument(dict, required=True),
    'val_dataloader': Argument(dict | None),
    'val_cfg': Argument(dict | None),
    'param_scheduler': Argument(list | dict | None),
    'data_builder': Argument(dict | None),
    'evaluation': Argument(dict | None),
    'default_hooks': Argument(dict),
    'custom_hooks': Argument(list | None),
    'feature_cache': Argument(dict | None),
    'visualizer': Argument(dict | None),
    'randomness': Argument(dict),
    'env_cfg': Argument(dict),
    'custom_imports': Argument(dict),
    'auto_scale_lr': Argument(dict | None),
    'strategy': Argument(dict | None),
    'default_scope': Argument(Literal['mmgpt']),
    'log_level': Argument(Literal['DEBUG', 'INFO', 'WARNING', 'ERROR']),
    'launcher': Argument(Literal['none', 'pytorch', 'slurm', 'mpi']),
    'work_dir': Argument(str),
    'load_from': Argument(str | None),
    'resume': Argument(bool | str),
    'compile': Argument(bool | dict),
    'gradient_checkpointing': Argument(bool | dict),
    'export': Argument(dict | None),
}

SETTINGS: dict[str, Arguments] = {  # what those of them hold that no code of ours takes as its arguments
    'tokenizer': {'path': Argument(str, required=True), 'revision': Argument(str | None)},
    'randomness': {'seed': Argument(int | None), 'diff_rank_seed': Argument(bool), 'deterministic': Argument(bool)},
    'env_cfg': {
        'cudnn_benchmark': Argument(bool),
        'num_threads': Argument(int),
        'onednn': Argument(bool),
        'mp_cfg': Argument(dict),
        'dist_cfg': Argument(dict),
        'resource_limit': Argument(int),
    },
    'custom_imports': {'imports': Argument(str | list[str], required=True), 'allow_failed_imports': Argument(bool)},
    'auto_scale_lr': {'base_batch_size': Argument(int, required=True), 'enable': Argument(bool)},
}
DIST_KEYS: Arguments = {'backend': Argument(Literal['gloo', 'nccl', 'cpu:gloo,cuda:nccl']), 'timeout': Argument(float)}
DTYPES = ('float32', 'bfloat16', 'float16')
DECODER_KEYS: Arguments = {  # beside the constructor's
    'config': Argument(dict | None),
    'weights': Argument(str | None),
    'revision': Argument(str | None),
    'dtype': Argument(Literal['auto', *DTYPES] | None),
}
ENCODER_KEYS: Arguments = {
    'weights': Argument(str | None),
    'revision': Argument(str | None),
    'dtype': Argument(Literal[DTYPES] | None),
}


def without_variables(cfg: Config) -> Config:
    """A config without the variables that its files have beside its keys, so that it can be read again."""
    return Config({name: value for name, value in cfg.to_dict().items() if name in TOP_LEVEL})
