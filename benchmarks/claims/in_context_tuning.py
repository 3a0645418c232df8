"""Otter's claim: tuning with in-context examples makes a model converge sooner and generalise better.

    python benchmarks/claims/in_context_tuning.py [--base work_dirs/otter_demo/hf] [--out DIR] [--seeds 3]

The demo's model learns three instructions that it was never given, from 300 pictures, with 0, 2 or 4 random examples
of the same instruction in front of each. Examples are trained on, too, so a step holds 60 answers whatever the number
of examples: 60, 20 or 12 rows. Asked on the way, about held-out pictures: the instructions without demonstrations and
with 4, and naming by 4 demonstrations under its own question and under one that was never trained.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ANSWERS = 60  # of a step
PICTURES = 300
QUESTION = 'What is it called?'


def main(argv=None) -> int:
    from bench.claims import Study, digit_pictures, draw_curves, parse, tune

    args = parse(__doc__, 'in_context_tuning', 60, argv)

    from bench.claim_tasks import (
        FOLLOWING,
        SMALLEST,
        SPELLING,
        first,
        naming,
        questions,
        right,
        trained_on,
        write_instruction,
    )
    from mmgpt.data.builders.digit_pictures import load_digit_pictures

    instructions, folder, pictures = (SPELLING, SMALLEST, FOLLOWING), args.out / 'data', digit_pictures(args)
    for instruction in instructions:
        write_instruction(folder, instruction, first(PICTURES))
    held_out = load_digit_pictures(held_out=True)
    each = -(-args.questions // len(instructions))
    asked = {
        f'{shots} demonstrations': [q for i in instructions for q in questions(i, held_out, each, shots)]
        for shots in (0, 4)
    }
    asked['naming'] = naming(held_out, '4', args.questions)
    asked['naming, unseen question'] = naming(held_out, '4', args.questions, QUESTION)

    def score(model, processor):
        return {name: right(model, processor, group) for name, group in asked.items()}

    study = Study(args)
    score_at = {0, *(round(args.iterations * part) for part in (0.15, 0.3, 0.6))}
    for seed in range(args.seeds):
        for shots in (0, 2, 4):
            sources = [trained_on(folder, i.name, pictures, 100, shots) for i in instructions]
            tuned = partial(tune, args, sources, seed, score, score_at, ANSWERS // (shots + 1))
            study.run(f'{shots} examples', seed, tuned)
    return study.finish(lambda results, path: draw_curves(results, list(asked), path))


if __name__ == '__main__':
    raise SystemExit(main())
