"""Otter freezes vision encoder and language model in tuning: what does training them give and cost?

    python benchmarks/claims/frozen_towers.py [--base work_dirs/otter_demo/hf] [--out DIR] [--seeds 3]

The demo's model learns an instruction that it was never given, and to read pictures of a kind that it has never seen
(black digits on white), from 300 pictures: by the parts that Otter trains, and with the vision encoder, the language
model or both trained too. Asked about held-out pictures: what is new, and what the base could do before.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

PICTURES = 300


def main(argv=None) -> int:
    from bench.claims import OTTERS_PARTS, Study, digit_pictures, draw_bars, parse, tune

    args = parse(__doc__, 'frozen_towers', 60, argv)

    from PIL import ImageOps

    from bench.claim_tasks import READING, SPELLING, first, naming, questions, right, trained_on, write_instruction
    from mmgpt.data.builders.digit_pictures import Digits, load_digit_pictures, png
    from mmgpt.data.builders.digit_tasks import image_id
    from mmgpt.data.image_stores import write_parquet_images

    def negative(digits):
        return Digits([ImageOps.invert(picture) for picture in digits.pictures], digits.labels)

    folder, pictures, few = args.out / 'data', digit_pictures(args), first(PICTURES)
    for instruction in (SPELLING, READING):
        write_instruction(folder, instruction, few)
    negatives = folder / 'NEGATIVES.parquet'
    shown = enumerate(negative(few).pictures)
    write_parquet_images(negatives, ((image_id(number), png(picture)) for number, picture in shown))
    sources = [
        trained_on(folder, 'SPELL', pictures, 100),
        trained_on(folder, 'READ', {'type': 'MimicIt', 'images': str(negatives)}, 100),
    ]
    held_out = load_digit_pictures(held_out=True)
    asked = {
        'new instruction': questions(SPELLING, held_out, args.questions),
        'new pictures': questions(READING, negative(held_out), args.questions),
        'old: reading': questions(READING, held_out, args.questions),
        'old: naming': naming(held_out, '4', args.questions),
    }

    def score(model, processor):
        return {name: right(model, processor, group) for name, group in asked.items()}

    parts = OTTERS_PARTS['model.trainable']
    arms = {
        "Otter's parts": OTTERS_PARTS,
        '+ vision encoder': {**OTTERS_PARTS, 'model.trainable': [*parts, 'vision_encoder']},
        '+ language model': {'model.trainable': [*parts, 'language_model']},
        'everything': {'model.trainable': ['*']},
    }
    study = Study(args)
    for seed in range(args.seeds):
        for arm, changes in arms.items():
            study.run(arm, seed, partial(tune, args, sources, seed, score, {0}, 32, changes))
    return study.finish(lambda results, path: draw_bars(results, list(asked), path))


if __name__ == '__main__':
    raise SystemExit(main())
