"""Writes features of pictures or of questions, by which similar samples are found as context."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} The retriever SimilarInstructions(features='DIR') reads them. "
        'What cannot be read is left out and told, and then the exit code is 1.'
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='its vision encoder describes pictures')
    parser.add_argument('--images', metavar='DIR_OR_FILE', help='the pictures to be described')
    parser.add_argument('--sentence-encoder', metavar='NAME', help='instead of CONFIG: folder or hub id of an encoder')
    parser.add_argument('--source', metavar='TYPE', help='what --ann is, such as mimicit or llava')
    parser.add_argument('--ann', metavar='PATH', help='the annotation file whose questions are described')
    parser.add_argument('--out', required=True, metavar='DIR', help='a folder for the features')
    parser.add_argument('--batch-size', type=int, default=32, metavar='N')
    parser.add_argument('--device', default='cpu', help='to compute on, such as cuda')
    args = parser.parse_args(argv)
    if (args.config is None) == (args.sentence_encoder is None):
        parser.error('name either a CONFIG and --images, or --sentence-encoder, --source and --ann')
    if args.batch_size < 1:
        parser.error(f'--batch-size must be at least 1, got {args.batch_size}')
    if args.config and not args.images:
        parser.error('CONFIG needs --images')
    if args.sentence_encoder and not (args.source and args.ann):
        parser.error('--sentence-encoder needs --source and --ann')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where something could not be read, 2 where it could not be done."""
    args = parse(argv)

    from mmgpt.data.builder import build_image_store
    from mmgpt.data.incontext import write_features
    from mmgpt.data.sources.table import source_from_files
    from mmgpt.engine.config import load_config
    from mmgpt.engine.console import message_of, start_tool
    from mmgpt.inference.features import image_features, load_vision_encoder, questions, text_features

    start_tool()
    faults: dict[str, str] = {}
    code = 0
    try:
        if args.config:
            model = load_config(args.config, check=False).to_dict().get('model') or {}
            if 'vision_encoder' not in model:
                raise ValueError(f'{args.config} has no model.vision_encoder, which would describe the pictures')
            encoder = load_vision_encoder(model['vision_encoder'])
            found = image_features(encoder, build_image_store(args.images), args.batch_size, args.device, faults)
        else:
            texts = questions(source_from_files(args.source, args.ann), faults)
            found = text_features(args.sentence_encoder, texts, args.batch_size, args.device)
        print(f'{args.out}: features of {write_features(args.out, found)}')
    except (OSError, ValueError, TypeError, ImportError, KeyError, RuntimeError) as error:  # the last: of a device
        print(f'extract_features: {message_of(error)}', file=sys.stderr)
        code = 2
    if faults:
        print(f'{len(faults)} could not be read and have no features:')
        print('\n'.join(f'  {key}: {why}' for key, why in faults.items()))
    return code or int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
