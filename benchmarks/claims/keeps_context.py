"""Does tuning keep the ability of the base to learn from its context?

    python benchmarks/claims/keeps_context.py [--base work_dirs/otter_demo/hf] [--out DIR] [--seeds 3]

The demo's model, which names pictures by demonstrations, is tuned on two instructions that have nothing to do with
names: without examples, with 4 of the same instruction in front, and without but with one sample in ten of naming. The
parts that Otter trains are trained, or low-rank adapters as MultiModal-GPT has them. Asked about held-out pictures: the
instructions, and naming by demonstrations.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main(argv=None) -> int:
    from bench.claims import LORA, OTTERS_PARTS, Study, digit_pictures, draw_curves, parse, tune

    args = parse(__doc__, 'keeps_context', 60, argv)

    from bench.claim_tasks import SMALLEST, SPELLING, first, naming, questions, right, trained_on, write_instruction
    from mmgpt.data.builders.digit_pictures import NUM_TRAIN, load_digit_pictures

    instructions, folder, pictures = (SPELLING, SMALLEST), args.out / 'data', digit_pictures(args)
    for instruction in instructions:
        write_instruction(folder, instruction, first(NUM_TRAIN))
    held_out = load_digit_pictures(held_out=True)
    each = -(-args.questions // len(instructions))
    asked = {
        'new instructions': [q for i in instructions for q in questions(i, held_out, each)],
        'naming, 2 names': naming(held_out, '4', args.questions),
        'naming, 5 names': naming(held_out, '5way', args.questions),
    }

    def score(model, processor):
        return {name: right(model, processor, group) for name, group in asked.items()}

    def sources(shots=0):
        return [trained_on(folder, i.name, pictures, 450, shots) for i in instructions]

    names = dict(
        **pictures,
        instructions=f'{args.data}/NAME_instructions.json',
        train=f'{args.data}/NAME_train.json',
        retriever=dict(type='RelatedInstructions'),
        num_samples=100,
    )
    arms = {  # sources, rows of a step (of about as many answers), changes
        'no examples': (sources(), 30, OTTERS_PARTS),
        '4 examples': (sources(4), 6, OTTERS_PARTS),
        'no examples, 10 % naming': ([*sources(), names], 30, OTTERS_PARTS),
        'LoRA, no examples': (sources(), 30, LORA),
    }
    study = Study(args)
    score_at = {0, *(round(args.iterations * part) for part in (0.15, 0.4))}
    for seed in range(args.seeds):
        for arm, (data, rows, changes) in arms.items():
            study.run(arm, seed, partial(tune, args, data, seed, score, score_at, rows, changes))
    return study.finish(lambda results, path: draw_curves(results, list(asked), path))


if __name__ == '__main__':
    raise SystemExit(main())
