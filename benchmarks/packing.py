"""What packed rows save: tokens of padding, and samples trained per second, on samples of very different lengths.

    python benchmarks/packing.py [--samples 192] [--sigma 1.0] [--batch-size 8] [--media 1] [--json R]

Trains a small random Flamingo (LLaMA-like, 4 layers) on random samples whose lengths are log-normal, three times over
the same samples: one a row in random order, one a row grouped by length, and packed. A packed batch has as many rows as
it takes to hold about the samples of the other batches, so that the optimiser takes about as many steps. Pixels are
tiny, since each distinct frame is encoded once whatever the rows are; the figures are of the text and the gated
cross-attention. One thread is used, and its processor time is what counts, so that other work on the machine does not
matter.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

WIDTH, LAYERS, VOCABULARY, SIZE, MARK = 256, 4, 512, 32, 3
SHORTEST, LONGEST = 12, 510  # tokens of a sample
ROW = LONGEST + 2


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=192, help='trained on by each; default: %(default)s')
    parser.add_argument('--median', type=float, default=60, help='tokens of a sample; default: %(default)s')
    parser.add_argument('--sigma', type=float, default=1.0, help='of the log of the lengths; default: %(default)s')
    parser.add_argument('--batch-size', type=int, default=8, help='samples of an unpacked batch; default: %(default)s')
    parser.add_argument('--media', type=int, default=1, help='pictures of a sample; default: %(default)s')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)

    from mmgpt.data.samplers import LengthGroupedSampler, MixtureSampler, PackingSampler

    data, model = made_up_data(args), small_model()
    packing = PackingSampler(data, batch_size=1, row_length=ROW)
    in_a_row = packing.epoch_size / packing.batches_per_epoch
    packing.batch_size = max(1, round(args.batch_size / in_a_row))
    samplers = {
        'one a row': MixtureSampler(data, args.batch_size),
        'grouped by length': LengthGroupedSampler(data, args.batch_size),
        'packed': packing,
    }
    results = {name: train(model, data, sampler, args.samples) for name, sampler in samplers.items()}
    slowest = results['one a row']['samples_per_second']
    for name, found in results.items():
        found['ratio'] = found['samples_per_second'] / slowest
        print(
            f'{name:<18} {found["samples_per_batch"]:5.1f} samples a batch, {found["padding"]:4.0%} padding, '
            f'{found["samples_per_second"]:6.1f} samples/s, {found["ratio"]:.2f} x'
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + '\n')
    return 0


def made_up_data(args):
    """Samples of random tokens, each of the same length whenever it is asked for."""
    import numpy as np
    import torch

    from mmgpt.data.dataset import FrameKey, Item, Length
    from mmgpt.structures import Encoded, Medium

    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(np.log(args.median), args.sigma, args.samples)).clip(SHORTEST, LONGEST).astype(int)

    class MadeUp:
        sizes, quotas, max_seq_len = [args.samples], [args.samples], LONGEST

        def measure(self, address):
            return Length(int(lengths[address.index]), lasting=True)

        def __getitems__(self, batch):
            return [[self.item(a) for a in row] if isinstance(row, list) else self.item(row) for row in batch]

        def item(self, address):
            generator = torch.Generator().manual_seed(address.index)
            ids = torch.randint(MARK + 1, VOCABULARY, (lengths[address.index],), generator=generator)
            ids[1 : 1 + args.media] = MARK
            keys = [FrameKey(0, (address.index, number)) for number in range(args.media)]
            frames = {key: torch.randint(256, (3, SIZE, SIZE), dtype=torch.uint8, generator=generator) for key in keys}
            media = tuple(Medium((key,)) for key in keys)
            labels = torch.where(torch.arange(len(ids)) > len(ids) // 2, ids, -100)
            kind = 'image' if keys else 'text'
            return Item(Encoded(str(address.index), ids, labels, media, kind=kind), frames)

    return MadeUp()


def small_model():
    import torch

    from mmgpt.models import Flamingo, FlamingoConfig

    torch.manual_seed(0)
    tower = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    text = dict(hidden_size=WIDTH, intermediate_size=2 * WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4)
    config = FlamingoConfig(
        vision_encoder=dict(type='ClipVision', config=dict(tower, image_size=SIZE, patch_size=16)),
        resampler=dict(type='PerceiverResampler', depth=1, num_latents=16, heads=2, head_width=16),
        text_config=dict(text, model_type='llama', vocab_size=VOCABULARY, pad_token_id=None),
        cross_attention=dict(type='GatedCrossAttention', heads=4, head_width=32),
        cross_attn_every_n_layers=2,
        media_token_id=MARK,
    )
    return Flamingo(config).train()


def train(model, data, sampler, samples: int) -> dict[str, float]:
    """Steps over about so many samples; the first step is not counted."""
    import torch

    from mmgpt.data.collate import PadCollate

    torch.set_num_threads(1)
    collate = PadCollate(pad_token_id=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    done = batches = tokens = places = 0
    seconds = 0.0
    for number, addresses in enumerate(sampler):
        if done >= samples:
            break
        start = time.process_time()
        batch = collate(data.__getitems__(addresses))
        optimizer.zero_grad()
        model.compute_loss(batch).loss_sum.backward()
        optimizer.step()
        if number:  # the first one warms up
            seconds += time.process_time() - start
            segments = batch['segment_ids']
            done += int(segments.max(1).values.sum())
            batches, places = batches + 1, places + segments.numel()
            tokens += int((segments > 0).sum())
    return {
        'samples_per_batch': done / batches,
        'padding': 1 - tokens / places,
        'samples_per_second': done / seconds,
    }


if __name__ == '__main__':
    raise SystemExit(main())
