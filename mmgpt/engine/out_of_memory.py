"""What is to be done where memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from mmgpt.registry import STRATEGIES
from mmgpt.structures import Batch

SAID = ("can't allocate memory", 'not enough memory', 'out of memory', 'bad_alloc')
ONEDNN = 'could not create a primitive'  # all that it says where there was no memory for one


class OutOfMemory(RuntimeError):
    """Memory did not suffice; the message says for which batch, and what takes less."""


@contextmanager
def explained(batch: Batch, cfg: Mapping[str, Any], when: str) -> Iterator[None]:
    """A context in which running out of memory raises :class:`OutOfMemory`.

    Args:
        batch: that is worked on.
        cfg: the run's config, whose knobs are named.
        when: e.g. 'iteration 12'.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        text = f'out of memory in {when} with a batch of {shape_of(batch)}: {first}{_held()}\n'
        knobs = '\n'.join(f'  {knob}' for knob in smaller(cfg))
        raise OutOfMemory(f'{text}What takes less, the first the cheapest:\n{knobs}') from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory did not suffice, on a GPU or a CPU."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    said = str(error)
    return isinstance(error, kinds) or said.strip() == ONEDNN or any(text in said for text in SAID)


def shape_of(batch: Batch) -> str:
    """A batch in words.

    Example:
        >>> shape_of({'input_ids': torch.zeros(2, 8), 'labels': torch.full((2, 8), -100)})
        '2 rows of 8 tokens, 0 of them trained'
    """
    rows, tokens = batch['input_ids'].shape
    samples = sum(map(len, batch.get('sample_ids', ())))
    packed = f' ({samples} samples)' if samples > rows else ''
    trained = int((batch['labels'] >= 0).sum())
    parts = [f'{rows} row{"s" * (rows != 1)} of {tokens} tokens{packed}, {trained} of them trained']
    if 'frames' in batch:
        parts.append('{} frames of {} x {}'.format(len(batch['frames']), *batch['frames'].shape[-2:]))
    if 'vision_features' in batch:
        parts.append(f'{len(batch["vision_features"])} frames out of the cache')
    return ', '.join(parts)


def smaller(cfg: Mapping[str, Any]) -> list[str]:
    """The knobs of a config that save memory and are not turned yet, those that cost least first."""
    loader, wrapper = cfg['train_dataloader'], cfg['optim_wrapper']
    dataset, sampler = loader.get('dataset') or {}, loader.get('sampler') or {}
    size, window = loader.get('batch_size', 1), wrapper.get('accumulative_counts', 1)
    knobs = []
    if wrapper.get('precision') == 'fp32':
        knobs.append("optim_wrapper.precision='bf16'")
    if size > 1:
        halved = f'train_dataloader.batch_size={size // 2} optim_wrapper.accumulative_counts={2 * window}'
        knobs.append(f'{halved}: the same step in smaller parts')
    if not cfg.get('gradient_checkpointing'):
        knobs.append('gradient_checkpointing=True: activations are made again, about a third more time')
    if sampler.get('row_length'):
        knobs.append(f'train_dataloader.sampler.row_length={sampler["row_length"] // 2} (now {sampler["row_length"]})')
    longest = dataset.get('max_seq_len')
    knobs.append(f'train_dataloader.dataset.max_seq_len={longest // 2 if longest else 512} (now {longest})')
    if (cfg.get('model') or {}).get('train_embeddings') == 'all':
        knobs.append("model.train_embeddings='new': only the rows of added tokens are trained")
    if (cfg.get('strategy') or {}).get('type', 'DDP') == 'DDP' and 'FSDP2' in STRATEGIES.names():
        knobs.append("strategy=dict(type='FSDP2'): parameters, gradients and optimiser are spread over the processes")
    knobs.append('python tools/analysis_tools/plan_memory.py CONFIG --gpus N --gpu-memory 24GiB says what fits')
    return knobs


def _held() -> str:
    if not torch.cuda.is_available():
        return ''
    free, total = torch.cuda.mem_get_info()
    peak = torch.cuda.max_memory_allocated()
    return f' (peak {peak / 2**30:.1f} GiB by this process, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free)'
