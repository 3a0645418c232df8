"""Tiny random models with open gates around each kind of language decoder, and inputs for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch

from mmgpt.models import Flamingo, FlamingoConfig, attention, matmul
from mmgpt.structures import IGNORE_INDEX, KINDS, Batch

MARK, PAD, VOCABULARY = 9, 0, 50
SIZE = 16  # pixels
TEXT = {
    'llama': dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48),
    'mpt': dict(d_model=32, n_layers=4, n_heads=4, expansion_ratio=2, max_seq_len=64),
    'opt': dict(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, ffn_dim=48, word_embed_proj_dim=32, dropout=0.0
    ),
    'granite': dict(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, logits_scaling=4.0
    ),
}
_GROUPED = dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48)
TEXT |= {
    'gpt_neox': dict(hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48),
    'mistral': dict(_GROUPED, sliding_window=4),  # shorter than the rows
    'qwen3': dict(_GROUPED, head_dim=8),
    'gemma3_text': dict(_GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=4),
    'gemma2': dict(_GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=4),
    'phi': dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48),
    'phi3': _GROUPED,
    'lfm2': dict(_GROUPED, layer_types=['conv', 'full_attention'] * 2),  # its cache holds more than keys and values
}
FAMILIES = ('llama', 'mpt', 'opt')
FURTHER = ('gpt_neox', 'mistral', 'qwen3', 'gemma3_text', 'phi3')


def model(family: str = 'llama', seed: int = 0, gates: bool = True, **changes) -> Flamingo:
    """A model in evaluation mode; every second layer has a gated block."""
    torch.manual_seed(seed)
    text = dict(model_type=family, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, pad_token_id=None)
    text |= TEXT[family]
    if family == 'llama':
        text['initializer_range'] = 0.2  # far enough apart for greedy ids to mean something
    config = dict(
        vision_encoder=dict(
            type='ClipVision',
            config=dict(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=SIZE,
                patch_size=8,
            ),
        ),
        resampler=dict(type='PerceiverResampler', depth=1, num_latents=3, heads=2, head_width=8, max_frames=4),
        text_config=text,
        cross_attention=dict(type='GatedCrossAttention', heads=2, head_width=8),
        cross_attn_every_n_layers=2,
        media_token_id=MARK,
    )
    made = Flamingo(FlamingoConfig(**{**config, **changes})).eval()
    if gates:
        for block in made.gated_blocks.values():
            torch.nn.init.normal_(block.attn_gate, std=2)
            torch.nn.init.normal_(block.ff_gate, std=2)
    if family != 'llama':
        with torch.no_grad():
            for parameter in made.language_model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(8)  # these families start too small for the ids to mean something
    return made


# row -> token ids, and the number of frames of each medium
ROWS = {
    'text': ([1, 20, 21, 22, 23], []),
    'image': ([1, 20, MARK, 21, 22, 23, 24], [1]),
    'several images': ([1, MARK, 21, 30, MARK, 22, 31, 32], [1, 1]),
    'video': ([1, 25, MARK, 26, 27, 28], [3]),
}


@contextmanager
def onednn() -> Iterator[None]:
    """Float32 products as ``matmul.prefer_onednn`` has them made, those of small models' attention, too."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(matmul.CHOSEN)
    try:
        with mock.patch.object(matmul, '_chose', return_value=True), mock.patch.object(attention, 'SMALL', 0):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def row(kind: str, seed: int = 7) -> dict[str, torch.Tensor]:
    """The inputs of one row: ``input_ids`` (1, S), and (1, M, F, 3, H, W) pixels with their mask where it has media."""
    ids, frames = ROWS[kind]
    inputs = {'input_ids': torch.tensor([ids]), 'attention_mask': torch.ones(1, len(ids), dtype=torch.long)}
    if frames:
        generator = torch.Generator().manual_seed(seed + len(kind))
        pixels = torch.randn(1, len(frames), max(frames), 3, SIZE, SIZE, generator=generator)
        mask = torch.arange(max(frames)) < torch.tensor(frames)[:, None]
        inputs |= {'pixel_values': pixels, 'frame_mask': mask[None]}
    return inputs


def padded(rows: list[dict[str, torch.Tensor]], side: str = 'left', noise: bool = True) -> dict[str, torch.Tensor]:
    """One batch of several rows; the padding of media is filled with noise that must change nothing."""
    length = max(r['input_ids'].shape[1] for r in rows)
    media = [r['pixel_values'] for r in rows if 'pixel_values' in r]
    count, frames = (max((m.shape[d] for m in media), default=0) for d in (1, 2))
    ids = torch.full((len(rows), length), PAD)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    pixels = torch.randn(len(rows), count, frames, 3, SIZE, SIZE) * (100 if noise else 0)
    frame_mask = torch.zeros(len(rows), count, frames, dtype=torch.bool)
    for i, one in enumerate(rows):
        size = one['input_ids'].shape[1]
        place = slice(length - size, length) if side == 'left' else slice(0, size)
        ids[i, place], mask[i, place] = one['input_ids'][0], 1
        if 'pixel_values' in one:
            m, f = one['pixel_values'].shape[1:3]
            pixels[i, :m, :f] = one['pixel_values'][0]
            frame_mask[i, :m, :f] = one['frame_mask'][0]
    batch = {'input_ids': ids, 'attention_mask': mask}
    return batch | ({'pixel_values': pixels, 'frame_mask': frame_mask} if count else {})


def training_batch(kinds: list[str], packed: bool = False, seed: int = 3) -> Batch:
    """A batch as the collate function gives it, or one packed row; the last half of each row is supervised."""
    generator = torch.Generator().manual_seed(seed)
    samples = [ROWS[kind] for kind in kinds]
    total = sum(sum(frames) for _, frames in samples)
    frames = torch.randint(0, 256, (max(total, 1), 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    rows = [list(range(len(samples)))] if packed else [[i] for i in range(len(samples))]
    length = max(sum(len(samples[i][0]) for i in row) for row in rows) + 2
    count = max(sum(len(samples[i][1]) for i in row) for row in rows)
    depth = max((n for _, numbers in samples for n in numbers), default=0)
    ids, segments, positions = (torch.zeros(len(rows), length, dtype=torch.long) for _ in range(3))
    labels = torch.full((len(rows), length), IGNORE_INDEX)
    places = torch.full((len(rows), count, depth), -1)
    kind = torch.full((len(rows), max(map(len, rows))), -1)
    used = 0
    for r, row in enumerate(rows):
        start = medium = 0
        for segment, i in enumerate(row):
            tokens, numbers = samples[i]
            place = slice(start, start + len(tokens))
            ids[r, place], segments[r, place] = torch.tensor(tokens), segment + 1
            positions[r, place] = torch.arange(len(tokens))
            half = slice(start + len(tokens) // 2, start + len(tokens))
            labels[r, half] = ids[r, half]
            kind[r, segment] = {'text': 0, 'video': 2}.get(kinds[i], 1)
            for n in numbers:
                places[r, medium, :n] = torch.arange(used, used + n)
                used, medium = used + n, medium + 1
            start += len(tokens)
    labels[labels == MARK] = IGNORE_INDEX
    assert len(KINDS) == 3
    return Batch(
        input_ids=ids,
        labels=labels,
        position_ids=positions,
        segment_ids=segments,
        frames=frames,
        media_frames=places,
        loss_weights=(labels != IGNORE_INDEX).float(),
        kinds=kind,
    )
