"""Flamingo's media placement: on web pages, should text see the picture before it, the one after it, or either?

    python benchmarks/claims/media_placement.py [--base work_dirs/otter_demo/hf] [--out DIR] [--seeds 3]

The demo's model is tuned on web pages (MMC4's files) of four pictures with a caption each. On one half of the pages
captions follow their pictures, on the other half they stand before them, and nothing tells which. The text of a page
sees the next picture with a chance of 0, 0.5 or 1 (``attend_next``). Then the most likely of ten captions is chosen for
held-out pictures, in both places, with the text seeing its own picture; and counted is the loss of the right caption.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

PICTURES = 4  # of a page
CAPTION = 'A handwritten {}.'
LAST = 'The end.'


def main(argv=None) -> int:
    from bench.claims import Study, digit_pictures, draw_bars, parse, tune

    args = parse(__doc__, 'media_placement', 60, argv)

    from mmgpt.data.builders.digit_pictures import load_digit_pictures

    write_pages(args.out / 'data' / 'pages.tar', load_digit_pictures(), size=800)
    held_out = load_digit_pictures(held_out=True)
    shown = held_out.pictures[: args.questions]
    wanted = [int(digit) for digit in held_out.labels[: args.questions]]

    def score(model, processor):
        found = {}
        for place in ('previous', 'next'):
            losses = caption_losses(model, processor, shown, place)
            best = losses.argmin(1).tolist()
            found[f'right, {place}'] = [float(guess == digit) for guess, digit in zip(best, wanted, strict=True)]
            found[f'loss, {place}'] = losses[range(len(wanted)), wanted].tolist()
        return found

    pages = dict(
        type='Mmc4',
        shards=str(args.out / 'data' / 'pages.tar'),
        matching='stored',
        min_bytes=0,
        num_samples=800,
        augment=digit_pictures(args)['augment'],
    )
    study = Study(args)
    for seed in range(args.seeds):
        for share in (0.0, 0.5, 1.0):
            sources = [{**pages, 'attend_next': share}]
            changes = {'template': dict(type='Interleaved')}
            study.run(f'next {share:g}', seed, partial(tune, args, sources, seed, score, {0}, 16, changes))
    names = list(study.results['runs'][0]['curve'][-1]['scores'])
    return study.finish(lambda results, path: draw_bars(results, names, path, 'share right; nats'))


def write_pages(path: Path, digits, size: int) -> None:
    """A tar of pages of MMC4: every other one has its captions before the pictures, not behind them."""
    import numpy as np

    from mmgpt.data.builders.digit_pictures import png

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with tarfile.open(path, 'w') as tar:
        for number in range(size):
            chosen = rng.permutation(len(digits.labels))[:PICTURES]
            before = number % 2  # a picture is put before its sentence, so before the caption of the next one
            images = [
                {
                    'image_base64': base64.b64encode(png(digits.pictures[picture])).decode(),
                    'matched_text_index': place + before,
                    'matched_sim': 1.0,
                }
                for place, picture in enumerate(chosen)
            ]
            captions = [CAPTION.format(digits.labels[picture]) for picture in chosen]
            record = json.dumps({'text_list': [*captions, LAST], 'image_info': images}).encode()
            member = tarfile.TarInfo(f'{number:05d}.json')
            member.size = len(record)
            tar.addfile(member, io.BytesIO(record))


def caption_losses(model, processor, pictures, place: str, batch: int = 16):
    """The losses (N, 10) of all captions for N pictures, in nats.

    Args:
        model: a ``Flamingo``.
        processor: with the template of pages.
        pictures: one a row.
        place: where the text's picture stands: 'previous', before it, or 'next', behind it; the text sees that one.
        batch: pictures at once.
    """
    import torch

    from mmgpt.evaluation.laboratory import attending

    captions = [CAPTION.format(digit) for digit in range(10)]
    mark, found = processor.image_token, []
    texts = [mark + caption if place == 'previous' else caption + mark for caption in captions]
    with torch.no_grad(), attending(model, place):
        for start in range(0, len(pictures), batch):
            part = pictures[start : start + batch]
            images = [[picture] for picture in part for _ in captions]
            inputs = processor(images=images, text=texts * len(part), padding_side='right')
            ids, real = inputs['input_ids'][:, 1:], inputs['attention_mask'][:, 1:].bool()
            losses = torch.nn.functional.cross_entropy(
                model(**inputs).logits[:, :-1].float().transpose(1, 2), ids, reduction='none'
            )
            told = real & (ids != processor.image_token_id)
            found.append((losses * told).sum(1).view(len(part), len(captions)))
    return torch.cat(found)


if __name__ == '__main__':
    raise SystemExit(main())
