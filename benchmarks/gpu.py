"""Training steps of 9 B models on a GPU: tokens per second, share of the matrix peak, memory.

    python benchmarks/gpu.py --json gpu.json       on a GPU of 80 GB or more, some ten minutes; nothing is downloaded
    python benchmarks/gpu.py --only otter          less of it: names of cases that contain the word
    python benchmarks/gpu.py --small               the same with tiny models on a CPU, to try the script

Random weights, made on the device: bfloat16 where frozen, float32 where trained, autocast to bfloat16. The models are
Otter 9 B (``configs/_base_/otter_9b.py``) by mmgpt, and Idefics 9 B by transformers and by mmgpt; of each are trained

    LoRA     MultiModal-GPT's: rank 16 in self-attention, cross-attention and gated feed-forward
    Otter    Otter's set: resampler, gated blocks, embedding and head

A step takes ``--samples`` samples of the lengths of ``train_step.py``, a picture each: ours as one packed row, Idefics
in batches of ``--rows`` samples of similar length, gradients added up. Activations are made again in the backward pass
only where the step does not fit otherwise, and then for all layers (``--checkpointing`` decides it). MFU is the
floating point operations of the step, without those made again, over its time and over what large matrix products in
bfloat16 reach in the same run; tokens are those of the samples, no padding. Cases do not fit beside one another and
come one after the other; figures are medians of the rounds, with the least and the greatest.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

OTTER = Path(__file__).parents[1] / 'configs' / '_base_' / 'otter_9b.py'
IDEFICS = dict(  # of the published Idefics 9 B
    image=224,
    patch=14,
    vision=dict(width=1280, layers=32, heads=16, inner=5120),
    text=dict(width=4096, layers=32, heads=32, inner=11008, vocabulary=32_000),
    resampler=dict(depth=6, latents=64, heads=16, head_width=96),
)
SMALL = dict(
    image=32,
    patch=16,
    vision=dict(width=16, layers=2, heads=2, inner=32),
    text=dict(width=32, layers=4, heads=2, inner=64, vocabulary=61),
    resampler=dict(depth=1, latents=4, heads=2, head_width=8),
)
EVERY = 4
CASES = tuple(f'{model}, {trained}' for model in ('otter', 'ours, idefics', 'idefics') for trained in ('LoRA', 'Otter'))


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--small', action='store_true', help='tiny models on a CPU: shows that the script runs')
    parser.add_argument('--only', default='', help=f'cases whose name contains this; they are: {"; ".join(CASES)}')
    parser.add_argument('--samples', type=int, default=32, help='of a step; default: %(default)s')
    parser.add_argument('--images', type=int, default=1, help='of a sample; default: %(default)s')
    parser.add_argument('--rows', type=int, default=8, help="samples of a batch of Idefics'; default: %(default)s")
    parser.add_argument('--rounds', type=int, default=10, help='steps that are timed; default: %(default)s')
    parser.add_argument('--checkpointing', choices=('auto', 'on', 'off'), default='auto', help='default: as needed')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    args = parser.parse_args(argv)
    if not any(args.only in case for case in CASES):
        parser.error(f'--only {args.only}: no case has it in its name; they are: {"; ".join(CASES)}')
    return args


def main(argv=None) -> int:
    args = parse(argv)
    import torch

    import mmgpt  # noqa: F401  (before transformers: it mends what stands in Idefics' way)
    from bench.measure import machine, write

    if not (args.small or torch.cuda.is_available()):
        print('no GPU is at hand, which models of 9 B need; --small tries the script on a CPU', file=sys.stderr)
        return 2
    options = {key: value for key, value in vars(args).items() if key != 'json'}
    results = {'settings': options, 'machine': machine(), 'cases': {}}
    for case in CASES:
        if args.only in case:
            results['cases'][case] = measured(case, args, 'cpu' if args.small else 'cuda')
            show(case, results['cases'][case])
            write(args.json, results)
    return 0


def measured(case: str, args, device: str) -> dict:
    """One case; where memory does not suffice and nothing else was asked for, with activations made again."""
    import torch

    for checkpointing in {'auto': (False, True), 'on': (True,), 'off': (False,)}[args.checkpointing]:
        gc.collect()  # the case before, or what did not fit
        torch.cuda.empty_cache()
        try:
            return measure(case, args, device, checkpointing)
        except torch.OutOfMemoryError:
            print(
                f'{case}: out of memory {"with" if checkpointing else "without"} making activations again', flush=True
            )
    return {}


def measure(case: str, args, device: str, checkpointing: bool) -> dict:
    """Builds the model, takes steps, and frees it again."""
    import torch

    from bench.measure import flops, in_turn, matrix_peak, spread
    from bench.memory import PeakMemory
    from bench.models import trained
    from bench.samples import mixture
    from bench.training import Steps, loss_of_idefics, loss_of_ours

    sizes = SMALL if args.small else IDEFICS
    memory = PeakMemory(device)
    model = build(case, sizes, device)
    if checkpointing:
        recompute(model)
    theirs = case.startswith('idefics')
    samples = mixture(args.samples, args.images, sizes=sizes)
    rows = sorted(samples, key=lambda sample: len(sample.ids))
    parts = [rows[start : start + args.rows] for start in range(0, len(rows), args.rows)] if theirs else [samples]
    loss = partial(loss_of_idefics if theirs else loss_of_ours, model)
    steps = Steps(model, lambda _: [partial(loss, part) for part in parts], [samples], 'bf16')
    steps()  # optimiser state
    work = flops(steps)
    size = (256, 3) if args.small else (8192, 20)
    peaks = []
    memory.restart()
    products = lambda: peaks.append(matrix_peak(torch.bfloat16, *size, device))  # noqa: E731
    seconds = in_turn({'step': steps, 'products': products}, args.rounds)
    peak, tokens = spread(peaks)['median'], sum(len(sample.ids) for sample in samples)
    return {
        'parameters': sum(parameter.numel() for parameter in model.parameters()),
        'trained': sum(parameter.numel() for parameter in trained(model)),
        'checkpointing': checkpointing,
        'tokens_per_second': spread([tokens / value for value in seconds['step']]),
        'step_seconds': spread(seconds['step']),
        'step_flops': work,
        'peak_flops': peak,
        'mfu': spread([work / value / peak for value in seconds['step']]),
        'peak_bytes': memory.bytes(),
    }


def build(case: str, sizes: dict, device: str):
    """The model of a case on the device: frozen parts in bfloat16, trained ones in float32."""
    import torch

    from bench.models import idefics

    lora = case.endswith('LoRA')
    theirs = case.startswith('idefics')
    if theirs:
        with torch.device(device), in_bfloat16():
            model = idefics(EVERY, sizes)
    else:
        config = otter_config(sizes) if case.startswith('otter') else idefics_config(sizes)
        config.text_config.dtype = torch.bfloat16
        if lora:
            slots = ['self_attention', 'cross_attention', 'gated_feedforward']
            config.adapter = dict(type='LoRA', slots=slots, r=16, alpha=16)
        from mmgpt.models import Flamingo

        with torch.device(device):
            model = Flamingo(config)
    if lora:
        adapted(model, theirs)
    else:
        names = ('perceiver_resampler', 'gated_cross_attn_layers', 'resampler.', 'gated_blocks')
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(part in name for part in names))
        model.get_input_embeddings().requires_grad_(True)
        model.get_output_embeddings().requires_grad_(True)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else torch.bfloat16)
    return model.train()


def adapted(model, theirs: bool) -> None:
    """Trains adapters alone; Idefics gets them in the layers that correspond to ours."""
    from mmgpt.models.adapters import adapter_parameters

    if theirs:
        from peft import LoraConfig, inject_adapter_in_model

        layers = r'model\.(layers\.\d+\.self_attn|gated_cross_attn_layers\.\d+\.(cross_attn|mlp))\.\w+_proj'
        inject_adapter_in_model(LoraConfig(r=16, lora_alpha=16, target_modules=layers), model)
    model.requires_grad_(False)
    for _, parameter in adapter_parameters(model):
        parameter.requires_grad_(True)


def otter_config(sizes: dict):
    """Of the config file; in small its parts are as small as ``sizes``."""
    from mmengine import Config

    from bench.models import ADDED
    from mmgpt.models import FlamingoConfig

    cfg = Config.fromfile(OTTER).model.to_dict()
    text = dict(cfg['language_decoder']['config'])
    vision = {key: value for key, value in cfg['vision_encoder'].items() if key != 'weights'}
    if sizes is SMALL:
        small, tower, resampler = sizes['text'], sizes['vision'], sizes['resampler']
        text |= dict(hidden_size=small['width'], intermediate_size=small['inner'], num_hidden_layers=small['layers'])
        text |= dict(num_attention_heads=small['heads'], vocab_size=small['vocabulary'])
        tower = dict(hidden_size=tower['width'], intermediate_size=tower['inner'], num_hidden_layers=tower['layers'])
        tower |= dict(num_attention_heads=2, image_size=sizes['image'], patch_size=sizes['patch'])
        vision['config'] = {**vision['config'], **tower}
        cfg['resampler'] |= dict(depth=resampler['depth'], num_latents=resampler['latents'])
    text['vocab_size'] += ADDED
    names = ('resampler', 'cross_attention', 'cross_attn_every_n_layers', 'attend', 'without_media')
    return FlamingoConfig(
        vision_encoder=vision,
        text_config=text,
        media_token_id=text['vocab_size'] - 1,
        **{name: cfg[name] for name in names},
    )


def idefics_config(sizes: dict):
    """Idefics' dimensions as ours."""
    import torch

    from bench.models import idefics
    from mmgpt.hub.convert.idefics import model_config

    with torch.device('meta'):
        published = idefics(EVERY, sizes).config
    return model_config(published, published.vocab_size + published.additional_vocab_size - 1)


@contextmanager
def in_bfloat16() -> Iterator[None]:
    """New parameters are bfloat16 inside."""
    import torch

    torch.set_default_dtype(torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def recompute(model) -> None:
    """Activations of all layers are made again in the backward pass, which ``flops`` does not count."""
    from torch.utils.checkpoint import checkpoint
    from transformers.modeling_layers import GradientCheckpointingLayer

    from bench.measure import uncounted

    again = partial(checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), uncounted()))
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.gradient_checkpointing, module._gradient_checkpointing_func = True, again


def show(case: str, found: dict) -> None:
    """Prints a case."""
    if not found:
        return
    rate, share = found['tokens_per_second'], found['mfu']
    print(
        f'{case:<22} {found["parameters"] / 1e9:.2f} B, {found["trained"] / 1e6:,.1f} M trained: '
        f'{rate["median"]:,.0f} tokens/s ({rate["min"]:,.0f} to {rate["max"]:,.0f}), MFU {share["median"]:.1%} '
        f'({share["min"]:.1%} to {share["max"]:.1%}) of {found["peak_flops"] / 1e12:.1f} TFLOP/s, peak '
        f'{found["peak_bytes"] / 2**30:.1f} GiB' + (', activations made again' if found['checkpointing'] else ''),
        flush=True,
    )


if __name__ == '__main__':
    raise SystemExit(main())
