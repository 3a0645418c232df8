"""MultiModal-GPT's claim: a few data with short answers make a model answer shortly to any instruction.

    python benchmarks/claims/short_answers.py [--base work_dirs/otter_demo/hf] [--out DIR] [--seeds 3]

The demo's model is tuned on instructions whose answers are two sentences, mixed with a share of instructions whose
answers are a word. One question stands in both kinds of data. Counted are the words of its replies about held-out
pictures: to the instructions of either kind, to that question, and to instructions that stand in none.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
BOTH = 'What do you see?'
LONG = ('Describe the picture.', 'Tell me about the picture.', 'What does the picture show?')
UNSEEN = ('Describe this digit.', 'What is in the picture?', 'Tell me what you see.')


def main(argv=None) -> int:
    from bench.claims import Study, digit_pictures, parse, tune

    args = parse(__doc__, 'short_answers', 80, argv)

    from bench.claim_tasks import READING, Instruction, first, questions, trained_on, write_instruction
    from mmgpt.data.builders.digit_instructions import WORDS
    from mmgpt.data.builders.digit_pictures import NUM_TRAIN, load_digit_pictures
    from mmgpt.data.builders.digit_tasks import EVEN, LARGER, yes_no
    from mmgpt.evaluation.answering import answer

    def at_length(digit):
        after = WORDS[(digit + 1) % 10]
        return f'It is a handwritten {WORDS[digit]}, an {"odd" if digit % 2 else "even"} digit. After it comes {after}.'

    groups = {
        'long': [Instruction(f'LONG{n}', question, at_length) for n, question in enumerate((*LONG, BOTH))],
        'short': [
            READING,
            Instruction('EVEN', EVEN, lambda digit: yes_no(digit % 2 == 0)),
            Instruction('OVER', LARGER.format(4), lambda digit: yes_no(digit > 4)),
            Instruction('SHORT', BOTH, str),
        ],
    }
    folder, pictures = args.out / 'data', digit_pictures(args)
    for instruction in (i for group in groups.values() for i in group):
        write_instruction(folder, instruction, first(NUM_TRAIN))
    held_out = load_digit_pictures(held_out=True)
    asked_of = {
        'long in the data': groups['long'][:-1],
        'short in the data': groups['short'][:-1],
        'both in the data': groups['long'][-1:],
        'not in the data': [Instruction('', question, at_length) for question in UNSEEN],
    }
    each = {
        name: [
            question
            for instruction in group
            for question in questions(instruction, held_out, -(-args.questions // (2 * len(group))))
        ]
        for name, group in asked_of.items()
    }

    def score(model, processor):
        found = {}
        for name, asked in each.items():
            replies = answer(model, processor, [q.messages for q in asked], 64, max_new_tokens=48)
            found[name] = [float(len(reply.split())) for reply in replies]
        return found

    study = Study(args)
    for seed in range(args.seeds):
        for share in SHARES:
            quota = {'long': round(250 * (1 - share)), 'short': round(250 * share)}
            sources = [
                trained_on(folder, instruction.name, pictures, quota[kind])
                for kind, group in groups.items()
                for instruction in group
                if quota[kind]
            ]
            study.run(f'{share:.0%}', seed, partial(tune, args, sources, seed, score, {0}, 32))
    return study.finish(draw)


def draw(results, path: Path) -> None:
    """Words of a reply over the share of short answers."""
    from bench.claims import arms, canvas, figure

    (axes,), save = canvas(1, path)
    names = arms(results)
    for name in results['runs'][0]['curve'][-1]['scores']:
        found = [figure(results, arm, name) for arm in names]
        means, deviations = ([f[key] for f in found] for key in ('mean', 'deviation'))
        shares = [int(arm.rstrip('%')) for arm in names]
        axes.errorbar(shares, means, deviations, marker='o', markersize=3, capsize=2, label=name)
    axes.set(xlabel='% of short answers in the data', ylabel='words of a reply', title='length of replies')
    save()


if __name__ == '__main__':
    raise SystemExit(main())
