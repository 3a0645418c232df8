"""A small trainable model and an endless stream of batches: what the engine needs to know of models and data."""

from __future__ import annotations

import torch
from mmengine import Config
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PretrainedConfig, PreTrainedModel

from mmgpt.models.loss import LossSums
from mmgpt.structures import GROUPS, IGNORE_INDEX

VOCABULARY = 17


class TinyConfig(PretrainedConfig):
    model_type = 'engine_test_tiny'


class TinyModel(PreTrainedModel):
    """Predicts each token from the one before it; has a frozen tower, a gate and dropout."""

    config_class = TinyConfig

    def __init__(self, config: TinyConfig | None = None, dropout: float = 0.0):
        super().__init__(config or TinyConfig())
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.tower = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.attn_gate = nn.Parameter(torch.tensor([0.5]))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, VOCABULARY)
        self.tower.requires_grad_(False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        pass

    def compute_loss(self, batch) -> LossSums:
        hidden = self.embedding(batch['input_ids'][:, :-1])
        hidden = self.dropout(self.norm(hidden + self.attn_gate.tanh() * self.tower(hidden)))
        labels = batch['labels'][:, 1:].reshape(-1)
        losses = F.cross_entropy(self.head(hidden).flatten(0, 1).float(), labels, reduction='none')
        weight = (labels != IGNORE_INDEX).double().sum()
        per_kind = torch.zeros(len(GROUPS), dtype=torch.float64)
        per_kind[0] = 1.0
        loss = losses.sum()
        return LossSums(loss, weight, per_kind * loss.detach(), per_kind * weight, (batch['segment_ids'] > 0).sum())


class Sentences(Dataset):
    """Random sentences of random length, each a function of its position."""

    def __getitem__(self, position: int) -> Tensor:
        generator = torch.Generator().manual_seed(position)
        length = int(torch.randint(3, 12, (1,), generator=generator))
        return torch.randint(VOCABULARY, (length,), generator=generator)


class Stream(Sampler):
    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self.position = 0

    def __iter__(self):
        position = self.position
        while True:
            yield list(range(position, position + self.batch_size))
            position += self.batch_size

    def skip(self, batches):
        self.position += batches * self.batch_size

    def state_dict(self):
        return {'position': self.position}

    def load_state_dict(self, state):
        self.position = state['position']


def collate(rows: list[Tensor]) -> dict[str, Tensor]:
    longest = max(map(len, rows))
    padded = [F.pad(row, (0, longest - len(row))) for row in rows]
    segments = torch.stack([F.pad(torch.ones_like(row), (0, longest - len(row))) for row in rows])
    ids = torch.stack(padded)
    labels = torch.where(segments > 0, ids, IGNORE_INDEX)
    labels[:, 0] = IGNORE_INDEX
    return {'input_ids': ids, 'labels': labels, 'segment_ids': segments}


def loader(batch_size: int = 2, num_workers: int = 0) -> DataLoader:
    return DataLoader(Sentences(), batch_sampler=Stream(batch_size), collate_fn=collate, num_workers=num_workers)


def config(work_dir, **changes) -> Config:
    cfg = Config(
        {
            'work_dir': str(work_dir),
            'train_cfg': {'type': 'IterLoop', 'max_iters': 7},
            'optim_wrapper': {
                'type': 'AccumulatingOptimWrapper',
                'optimizer': {'type': 'AdamW', 'lr': 0.01, 'weight_decay': 0.1},
                'accumulative_counts': 3,
                'clip_grad': {'max_norm': 1.0},
                'precision': 'fp32',
            },
            'param_scheduler': [
                {'type': 'LinearLR', 'start_factor': 0.1, 'end': 2},
                {'type': 'CosineAnnealingLR', 'T_max': 5, 'begin': 2},
            ],
            'default_hooks': {'logger': {'type': 'LoggerHook', 'interval': 2}, 'curves': None},
            'randomness': {'seed': 3},
            'default_scope': 'mmgpt',
        }
    )
    cfg.merge_from_dict(changes)
    return cfg
