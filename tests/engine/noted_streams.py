"""Reads the streams of batches that configs describe, in each process of a launcher, and writes down what they give.

    torchrun --nproc-per-node 2 -m tests.engine.noted_streams streams.json

``streams.json``: ``[{"config", "changes", "steps", "saved", "notes", "resumed"}]``. Each stream is read as the training
loop reads it; after ``saved`` of its ``steps`` what a checkpoint would hold of it is written to ``{notes}.state.json``,
and one with ``resumed`` goes on from the file of that name. Process R writes ``{notes}.R.json``: of each step the rows
of its batch, of each row its samples, of each sample its id and a digest of all that the model gets of it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import torch
from mmengine.dist import get_rank, get_world_size

from mmgpt.data.builder import build_dataloader, build_prompter
from mmgpt.engine.build import seed_of
from mmgpt.engine.config import load_config
from mmgpt.engine.strategies.processes import join, leave
from mmgpt.structures import Batch


def contents(batch: Batch, media_token_id: int) -> list[list[tuple[str, str]]]:
    """Id and digest of each sample of each row: its ids, labels, weights and positions, and the pixels of its media."""
    rows = []
    for row, names in enumerate(batch['sample_ids']):
        seen, samples = 0, []
        for number, name in enumerate(names, start=1):
            own = batch['segment_ids'][row] == number
            made = hashlib.sha256()
            for part in ('input_ids', 'labels', 'loss_weights', 'position_ids'):
                made.update(batch[part][row][own].numpy().tobytes())
            marks = int((batch['input_ids'][row][own] == media_token_id).sum())
            for medium in batch['media_frames'][row, seen : seen + marks]:
                made.update(f'medium of {int((medium >= 0).sum())}'.encode())
                made.update(batch['frames'][medium[medium >= 0]].numpy().tobytes())
            seen += marks
            samples.append((name, made.hexdigest()))
        rows.append(samples)
    return rows


def read(config: str, changes: dict, steps: int, saved: int, notes: str, resumed: str | None = None) -> None:
    """One stream."""
    cfg = load_config(Path(config))
    cfg.merge_from_dict(changes)
    prompter = build_prompter(cfg.template, cfg.tokenizer, cfg.image_transform)
    loader = build_dataloader(cfg.train_dataloader, prompter, seed_of(cfg), get_rank(), get_world_size())
    if resumed is not None:
        loader.batch_sampler.load_state_dict(json.loads(Path(resumed).read_text()))
    noted, batches = [], iter(loader)
    for step in range(steps):
        noted.append(contents(next(batches), prompter.media_token_id))
        loader.batch_sampler.skip(1)
        if step + 1 == saved and get_rank() == 0:
            Path(f'{notes}.state.json').write_text(json.dumps(loader.batch_sampler.state_dict()))
    Path(f'{notes}.{get_rank()}.json').write_text(json.dumps(noted))


if __name__ == '__main__':
    torch.set_num_threads(1)
    join('pytorch', backend='gloo', timeout=120)
    for stream in json.loads(Path(sys.argv[1]).read_text()):
        read(**stream)
    leave()
