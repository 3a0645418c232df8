"""Converts published checkpoints to model folders and back, puts models together, and compares them."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NamedTuple

Argument = tuple[tuple[str, ...], dict[str, Any]]


def argument(*names: str, **options: Any) -> Argument:
    """An argument as ``ArgumentParser.add_argument`` takes it."""
    return names, options


class Verb(NamedTuple):
    """What a verb does, the function that does it, and its arguments, which are the function's."""

    summary: str
    function: str  # 'module:function', imported when the verb is used
    arguments: tuple[Argument, ...]


OUT = argument('--out', required=True, metavar='D', help='the folder to write; must not exist')
DTYPE = argument('--dtype', help='of the result, such as bfloat16; default: the widest of the inputs')
TOKENIZER = argument('--tokenizer', metavar='DIR_OR_ID', help="default: the language model's")
EVERY = argument(
    '--cross-attn-every-n-layers',
    type=int,
    metavar='N',
    help='a gated block before every Nth layer; default: as the checkpoint has them, for a new model 1',
)
LANGUAGE_MODEL = argument('--language-model', required=True, metavar='DIR_OR_ID', help='folder or hub id')
VISION_MODEL = argument(
    '--vision-model',
    required=True,
    metavar='DIR_OR_NAME',
    help='a folder or hub id (CLIP of Hugging Face, open_clip), or a name that open_clip knows, such as ViT-L-14',
)
FOLDER = argument('folder', metavar='D', help='a model folder')
PART = 'its type and name=value of its arguments; default: %(default)s'
ATTEND = ('previous', 'next', 'all_previous', 'all_next')
RAW = argument(
    '--raw-patch-tokens',
    dest='normalize_patches',
    action='store_false',
    default=None,
    help='take the patches before the final LayerNorm (default, as published)',
)
NORMALIZED = argument(
    '--normalized-patch-tokens', dest='normalize_patches', action='store_true', help='take them after it'
)

VERBS = {
    'openflamingo': Verb(
        'OpenFlamingo: release (v1, v2) or file of its training -> model folder',
        'mmgpt.hub.convert.openflamingo:convert',
        (
            argument('checkpoint', metavar='CHECKPOINT', help='checkpoint.pt, or the folder that holds it'),
            LANGUAGE_MODEL,
            VISION_MODEL,
            TOKENIZER,
            EVERY,
            RAW,
            NORMALIZED,
            argument(
                '--attend',
                choices=('previous', 'next'),
                default='previous',
                help='the image that text sees; v1 was evaluated with next (default: %(default)s)',
            ),
            DTYPE,
            OUT,
        ),
    ),
    'otter': Verb(
        'Otter: published folder, or a file of its training -> model folder',
        'mmgpt.hub.convert.otter:convert',
        (
            argument('folder', metavar='FOLDER', help='with config.json and weights; or final_weights.pt in one'),
            argument('--tokenizer', metavar='DIR_OR_ID', help="default: the folder's own, else the one it names"),
            argument('--base', metavar='FOLDER', help='for a file of training: the whole weights it began with'),
            argument('--language-model', metavar='DIR_OR_ID', help='for a file of training, instead of --base'),
            argument('--vision-model', metavar='DIR_OR_NAME', help='for a file of training, instead of --base'),
            DTYPE,
            OUT,
        ),
    ),
    'multimodal-gpt': Verb(
        'MultiModal-GPT: LoRA file on a converted OpenFlamingo -> model folder',
        'mmgpt.hub.convert.multimodal_gpt:convert',
        (
            argument('lora_file', metavar='LORA_FILE', help='such as mmgpt-lora-v0-release.pt'),
            argument('--base', required=True, metavar='D0', help='the model folder of the OpenFlamingo'),
            argument(
                '--attend',
                choices=('previous', 'next'),
                default='next',
                help='the image that text sees; published: next, with which text after the last image sees none '
                '(default: %(default)s)',
            ),
            argument('--merge', action='store_true', help='add the adapter into the weights'),
            argument('--lora-alpha', type=float, metavar='A', help='where the file does not tell it; default: 16'),
            DTYPE,
            OUT,
        ),
    ),
    'idefics': Verb(
        "Hugging Face's Idefics -> model folder",
        'mmgpt.hub.convert.idefics:convert',
        (
            argument('folder', metavar='FOLDER', help='with config.json and weights'),
            argument('--tokenizer', metavar='DIR_OR_ID', help="default: the folder's own"),
            DTYPE,
            OUT,
        ),
    ),
    'compose': Verb(
        'a new model of any parts: gates at 0, special tokens added',
        'mmgpt.hub.convert.compose:compose',
        (
            LANGUAGE_MODEL,
            VISION_MODEL,
            argument('--resampler', nargs='+', default=['PerceiverResampler'], metavar='TYPE', help=PART),
            argument('--cross-attention', nargs='+', default=['GatedCrossAttention'], metavar='TYPE', help=PART),
            argument('--template', nargs='+', default=['Otter', 'spacing=spaced'], metavar='TYPE', help=PART),
            TOKENIZER,
            EVERY,
            RAW,
            NORMALIZED,
            argument('--attend', choices=ATTEND, default='previous', help='which media text sees (%(default)s)'),
            argument('--seed', type=int, default=0, help='of the random weights (%(default)s)'),
            DTYPE,
            OUT,
        ),
    ),
    'export-openflamingo': Verb(
        "model folder -> a file in the layout of OpenFlamingo's releases",
        'mmgpt.hub.convert.export:export_openflamingo',
        (FOLDER, argument('--out', required=True, metavar='FILE', help='.pt or .safetensors; must not exist')),
    ),
    'export-otter': Verb(
        "model folder -> a folder in the layout of Otter's releases",
        'mmgpt.hub.convert.export:export_otter',
        (FOLDER, OUT),
    ),
    'consolidate': Verb(
        'a checkpoint in shards -> model folder',
        'mmgpt.engine.consolidate:consolidate',
        (argument('folder', metavar='CHECKPOINT', help='such as W/checkpoints/iter_000400'), OUT),
    ),
    'verify': Verb(
        'run two model folders on the same inputs and print the largest logit difference',
        'mmgpt.hub.convert.verify:verify',
        (
            argument('a', metavar='A', help='a model folder'),
            argument('b', metavar='B', help='a model folder'),
            argument('--tolerance', type=float, default=1e-5, help='exit with 1 above it (%(default)s)'),
            argument('--seed', type=int, default=0, help='of the inputs (%(default)s)'),
        ),
    ),
}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    for name, verb in VERBS.items():
        described = verbs.add_parser(name, help=verb.summary, description=verb.summary)
        for names, options in verb.arguments:
            described.add_argument(*names, **options)
        described.add_argument('--import', dest='plugins', action='append', default=[], metavar='MODULE', help='plugin')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 for a checkpoint that does not fit, 2 for what is not there."""
    args = vars(parse(argv))
    verb, plugins = args.pop('verb'), args.pop('plugins')

    import importlib

    from huggingface_hub.errors import StrictDataclassError

    from mmgpt.engine.console import message_of, start_tool
    from mmgpt.hub.convert.report import ConversionError
    from mmgpt.inference.plugins import import_plugins

    start_tool()
    module, _, function = VERBS[verb].function.partition(':')
    try:
        import_plugins(plugins)
        result = getattr(importlib.import_module(module), function)(**args)
    except (OSError, ValueError, ImportError, KeyError, StrictDataclassError) as error:  # the last: of a config.json
        print(f'convert {verb}: {message_of(error)}', file=sys.stderr)
        return 1 if isinstance(error, ConversionError) else 2
    print(result)
    return 0 if result.ok else 1


if __name__ == '__main__':
    sys.exit(main())
