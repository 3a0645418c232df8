"""MultiModal-GPT's claim: tuning on pictures and on text alone together makes better dialogues than either.

    python benchmarks/claims/text_and_images.py [--base work_dirs/otter_demo/hf] [--out DIR] [--seeds 3]

The second demo's tuning (adapters, unified template) on instructions about pictures with dialogues of two rounds, on
instructions without pictures, or on both. As in the paper a step of the joint tuning has as many rows of each kind as a
step of either alone. Asked about what was held out: both kinds of instructions, and dialogues of three rounds, whose
third round, about what was said before, no data has.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ROWS = 24  # of each kind in a step


def main(argv=None) -> int:
    from bench.claims import LORA, ROOT, Study, digit_pictures, draw_curves, parse, tune

    args = parse(__doc__, 'text_and_images', 100, argv)

    from bench.claim_tasks import SMALLEST, SPELLING, first, questions, right, trained_on, write_instruction
    from mmgpt.data.builders.digit_pictures import NUM_TRAIN, load_digit_pictures
    from mmgpt.evaluation.digit_instructions import ROUNDS, answer_talks, make_questions, make_talks

    folder, pictures = args.out / 'data', digit_pictures(args)
    for instruction in (SMALLEST, SPELLING):
        write_instruction(folder, instruction, first(NUM_TRAIN))
    write_talks(folder, first(NUM_TRAIN), size=2000)
    talks = dict(
        **pictures,
        instructions=str(folder / 'TALK_instructions.json'),
        train=str(folder / 'TALK_train.json'),
        retriever=dict(type='RelatedInstructions'),
        num_samples=400,
    )
    of_pictures = [*(trained_on(folder, i.name, pictures, 200) for i in (SMALLEST, SPELLING)), talks]
    of_text = [dict(type='Alpaca', annotations=f'{args.data}/text_instructions.json', num_samples=800)]

    held_out = load_digit_pictures(held_out=True)
    each = -(-args.questions // 2)
    asked = {
        'pictures': [q for i in (SMALLEST, SPELLING) for q in questions(i, held_out, each)],
        'text': make_questions(held_out, args.questions, seed=0)['text'],
    }
    dialogues = make_talks(held_out, args.questions, seed=0)

    def score(model, processor):
        found = {name: right(model, processor, group) for name, group in asked.items()}
        for place, (name, said) in enumerate(answer_talks(model, processor, dialogues).items()):
            expected = (talk[place].expected for talk in dialogues)
            found[name] = [float(text == wanted) for text, wanted in zip(said, expected, strict=True)]
        return found

    arms = {'pictures': (of_pictures, ROWS), 'text': (of_text, ROWS), 'both': ([*of_pictures, *of_text], 2 * ROWS)}
    study = Study(args)
    config = ROOT / 'configs' / 'multimodal_gpt_demo.py'
    for seed in range(args.seeds):
        for arm, (sources, rows) in arms.items():
            score_at = {0, *(round(args.iterations * part) for part in (0.25, 0.5))}
            study.run(arm, seed, partial(tune, args, sources, seed, score, score_at, rows, LORA, config))
    names = [*asked, *(f'dialogue/{name}' for name in ROUNDS)]
    return study.finish(lambda results, path: draw_curves(results, names, path))


def write_talks(folder: Path, digits, size: int) -> None:
    """Dialogues as of the demo, but the first two rounds alone."""
    import numpy as np

    from mmgpt.data.builders.digit_instructions import draw_talk
    from mmgpt.data.builders.digit_tasks import Task, image_id

    rng, task = np.random.default_rng(0), Task('TALK')
    for number in range(size):
        ids: list[str] = []
        for place, round in enumerate(draw_talk(digits, rng)[:2]):
            ids.append(task.add(f'{number:05d}_{place}', round.question, round.answer, map(image_id, round.pictures)))
        task.contexts[ids[1]] = ids[:1]
    for part, content in (('instructions', {'data': task.records}), ('train', task.contexts)):
        (folder / f'TALK_{part}.json').write_text(json.dumps(content), encoding='utf-8')


if __name__ == '__main__':
    raise SystemExit(main())
