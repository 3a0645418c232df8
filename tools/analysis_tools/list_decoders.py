"""Tells which language models can be decoders: each family is probed in small, with random weights."""

from __future__ import annotations

import argparse
import difflib
import sys
import warnings


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Prints a Markdown table: how rows are packed, or why it is none.'
    )
    parser.add_argument('model_types', metavar='TYPE', nargs='*', help="as in a model's config.json; default: all")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where a family that was named cannot be a decoder."""
    args = parse(argv)

    warnings.filterwarnings('ignore')
    from transformers import logging
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    logging.set_verbosity_error()
    for unknown in set(args.model_types) - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        near = difflib.get_close_matches(unknown, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, n=1)
        hint = f'; did you mean {near[0]!r}?' if near else ''
        print(f'list_decoders: transformers has no causal language model of type {unknown!r}{hint}', file=sys.stderr)
        return 2
    print('| model_type | decoder | packing | head on the last hidden states |')
    print('|---|---|---|---|')
    refused = 0
    for model_type in args.model_types or MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        try:
            row = describe(model_type)
        except Exception as error:  # whatever a family fails with is the answer to the question
            refused += 1
            row = f'no: {" ".join(str(error).split("; ")[0].split())[:110]} | |'
        print(f'| {model_type} | {row} |', flush=True)
    return 1 if args.model_types and refused else 0


def describe(model_type: str) -> str:
    """The row of a family.

    Raises:
        Exception: it cannot be a decoder, or a small copy of it cannot be made.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    from mmgpt.models import FlamingoConfig
    from mmgpt.models.language_decoders.probe import traits_of
    from mmgpt.registry import LANGUAGE_DECODERS

    config = CONFIG_MAPPING[model_type]().get_text_config()
    with torch.device('meta'):
        language_model = AutoModelForCausalLM.from_config(config)
    cfg = FlamingoConfig(text_config=config, media_token_id=0).language_decoder
    decoder = LANGUAGE_DECODERS.build({**cfg, 'lm': language_model})
    traits = traits_of(decoder)
    packing = traits.packing or 'none: rows are not packed'
    return f'{type(decoder).__name__} | {packing} | {"yes" if traits.head_outside else "no: its own logits"}'


if __name__ == '__main__':
    sys.exit(main())
