"""Writes XX_train.json: which instructions to train on, and the contexts of each, as MIMIC-IT's subsets choose them."""

from __future__ import annotations

import argparse
import sys

SUBSETS = ('LACR_I2I', 'LACR_T2T', 'LACONV', 'LADD', 'SD', 'CGD', 'SN', 'DC', 'VST', 'TVC', 'E4D')


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('instructions', metavar='XX_instructions.json')
    parser.add_argument('--subset', required=True, choices=[*SUBSETS, 'related'], help='related: as the file says, '
                        'also where a picture has several conversations, which LACONV takes for one')  # fmt: skip
    parser.add_argument('--out', required=True, metavar='XX_train.json')
    parser.add_argument('--images', metavar='FILE_OR_DIR', help='the pictures; not with LACR_T2T of words, and related')
    parser.add_argument('--features', metavar='DIR', help='what tools/extract_features.py wrote')
    parser.add_argument('--published', action='store_true', help='the rules of the published converter: LACR exactly 2 '
                        'contexts and a random half; LACONV exactly 2 and final rounds only')  # fmt: skip
    parser.add_argument(
        '--exactly', type=int, metavar='N', help='so many contexts: fewer are repeated, none = left out'
    )
    parser.add_argument('--share', type=float, metavar='F', help='of the instructions, drawn')
    parser.add_argument('--final-rounds', action='store_true', help='only the last round of a conversation')
    parser.add_argument(
        '--unused', action='store_true', help='leave out what was the context of an earlier instruction'
    )
    parser.add_argument('--no-context', action='store_true', help='all contexts are empty')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    if args.subset == 'LACR_I2I' and not args.features:
        parser.error('LACR_I2I compares pictures: give --features')
    if args.subset not in ('related', 'LADD', 'LACR_T2T') and not args.images:
        parser.error(f'{args.subset} looks at which pictures are shown: give --images')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.data.builder import build_image_store
    from mmgpt.data.converters.train_json import HEURISTICS, Heuristic, train_contexts, write_train_json
    from mmgpt.data.sources import MimicIt
    from mmgpt.engine.console import message_of
    from mmgpt.registry import RETRIEVERS

    heuristic = HEURISTICS.get(args.subset, Heuristic({'type': 'RelatedInstructions'}))
    options = dict(heuristic.published) if args.published else {}
    options |= {name: value for name in ('exactly', 'share') if (value := getattr(args, name)) is not None}
    options |= {name: True for name in ('final_rounds', 'unused') if getattr(args, name)}
    try:
        source = MimicIt(args.instructions, None if args.images is None else build_image_store(args.images))
        retriever = None
        if heuristic.retriever is not None and not args.no_context:
            by = {} if args.features is None else {'features': args.features}
            by |= {'by': 'id'} if by and args.subset == 'LACR_T2T' else {}
            retriever = RETRIEVERS.build({**heuristic.retriever, **by})
        contexts = train_contexts(source, retriever, seed=args.seed, **options)
        write_train_json(args.out, contexts)
    except (OSError, ValueError, ImportError, KeyError) as error:
        print(f'build_train_json: {message_of(error)}', file=sys.stderr)
        return 2
    shown = sum(map(len, contexts.values()))
    print(f'{args.out}: {len(contexts)} of {len(source)} instructions, {shown} contexts')
    return 0


if __name__ == '__main__':
    sys.exit(main())
