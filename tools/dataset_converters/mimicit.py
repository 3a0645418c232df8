"""Makes MIMIC-IT's files of the eight data sets that it was built on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

Argument = tuple[str, dict[str, Any]]


def argument(name: str, **options: Any) -> Argument:
    """An argument as ``ArgumentParser.add_argument`` takes it."""
    return name, options


class Verb(NamedTuple):
    """A data set, the class that converts it, and the arguments of both."""

    summary: str
    conversion: str  # of mmgpt.data.converters
    arguments: tuple[Argument, ...]


def annotations(file: str) -> Argument:
    """The argument for an annotation file of the given name."""
    return argument('--annotations', required=True, metavar='FILE', help=file)


IMAGES = argument('--images', required=True, metavar='DIR_OR_FILE', help='the pictures: a folder, Parquet or JSON')
VIDEOS = argument('--videos', required=True, metavar='DIR', help='the video files; reading them needs mmgpt[video]')

VERBS = {
    'llava': Verb(
        'LLaVA-Instruct-150K on COCO 2017 -> LA: LACONV, LACR_I2I, LACR_T2T, LADD',
        'LlavaInterleaved',
        (
            IMAGES,
            argument('--conversations', metavar='FILE', help='conversation_58k.json'),
            argument('--reasoning', metavar='FILE', help='complex_reasoning_77k.json'),
            argument('--details', metavar='FILE', help='detail_23k.json'),
        ),
    ),
    'spot-the-diff': Verb('Spot-the-Diff -> SD', 'SpotTheDifference', (IMAGES, annotations('train.json'))),
    'coco-difference': Verb(
        'pairs of alike COCO pictures -> CGD',
        'SceneDifference',
        (
            IMAGES,
            annotations('captions_train2017.json'),
            argument('--features', metavar='DIR', help='of the pictures (tools/extract_features.py): the most alike'),
            argument('--pairs', metavar='FILE', help='instead: JSON, a picture -> the one most alike'),
        ),
    ),
    'scannet': Verb(
        'ScanNet v2 with ScanRefer -> SN',
        'IndoorScenes',
        (
            argument('--scans', required=True, metavar='DIR', help='with scene0000_00/color/000000.jpg'),
            annotations('ScanRefer_filtered_train.json'),
            argument('--views', type=int, default=10, metavar='N', help='pictures of a scene (default: %(default)s)'),
        ),
    ),
    'vist': Verb('VIST -> VST', 'VisualStories', (IMAGES, annotations('train.story-in-sequence.json'))),
    'activitynet': Verb('ActivityNet Captions -> DC', 'DenseCaptions', (VIDEOS, annotations('train.json'))),
    'tvc': Verb(
        'TV show captions on the frames of TVQA -> TVC',
        'TvCaptions',
        (
            argument('--frames', required=True, metavar='DIR', help='with {show}_frames/{clip}/00001.jpg'),
            annotations('tvc_train_release.jsonl'),
            argument('--wanted', type=int, default=16, metavar='N', help='frames of a clip (default: %(default)s)'),
        ),
    ),
    'ego4d': Verb(
        'Ego4D -> E4D',
        'EgoNarrations',
        (
            VIDEOS,
            annotations('narration.json'),
            argument('--seconds', type=int, default=16, metavar='N', help='of a clip (default: %(default)s)'),
        ),
    ),
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Writes XX.parquet, XX_instructions.json and XX_annotations.jsonl (for syphus.py); '
        'what is missing or broken is left out and told, and then the exit code is 1.'
    )
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='SET')
    for name, verb in VERBS.items():
        described = verbs.add_parser(name, help=verb.summary, description=verb.summary)
        for option, settings in verb.arguments:
            described.add_argument(option, **settings)
        described.add_argument('--out', required=True, metavar='DIR', help='such as data/mimicit/SD')
        described.add_argument('--report', metavar='FILE', help='what was made and what could not be used, as JSON')
        described.add_argument('--jobs', type=int, default=4, metavar='N', help='files read at a time (%(default)s)')
        described.add_argument(
            '--size', type=int, default=224, metavar='PIXELS', help='of the pictures; 0 = as they are (%(default)s)'
        )
        described.add_argument('--jpeg', type=int, metavar='QUALITY', help='1 to 95; default, as published: PNG')
    args = parser.parse_args(argv)
    if args.size < 0 or args.jobs < 1 or not (args.jpeg is None or 1 <= args.jpeg <= 95):
        parser.error('--size must be at least 0, --jobs at least 1 and --jpeg from 1 to 95')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where inputs were missing or broken, 2 where it could not be done."""
    args = vars(parse(argv))
    verb, out, report, jobs = (args.pop(name) for name in ('verb', 'out', 'report', 'jobs'))

    from mmgpt.data import converters
    from mmgpt.data.builder import build_image_store

    encoder = converters.Encoder(args.pop('size') or None, args.pop('jpeg'))
    try:
        if 'images' in args:
            args['images'] = build_image_store(args['images'])
        made = getattr(converters, VERBS[verb].conversion)(**args, encoder=encoder).run(out, jobs)
        if report:
            Path(report).write_text(json.dumps(made.to_dict(), indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    except (OSError, ValueError, ImportError) as error:
        print(f'mimicit {verb}: {error}', file=sys.stderr)
        return 2
    print(made)
    return 1 if made.faults else 0


if __name__ == '__main__':
    sys.exit(main())
