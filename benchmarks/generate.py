"""Generation, side by side: the first token, the tokens after it, and the next turn of a dialogue.

    python benchmarks/generate.py [--every 4 1] [--images 1 5] [--batch 1 4] [--compile] [--json R] [--plot P]

Ours, Hugging Face's Idefics with the very same weights, Mllama with a decoder and cross-attention of the same sizes in
the same places, and the bare language model, under the same settings; but for the library that multiplies float32
matrices, which mmgpt chooses (models/matmul.py; ``--onednn all`` gives it to all, ``none`` to none). Every round runs
all of them in turn; figures are medians with the least and the greatest. ``first`` is the time until the first token:
pictures, resampler, prompt; ``tokens/s`` counts those after it, of all rows. The limit is what reading weights allows:
the bare model's tokens/s times (its bytes) / (its bytes and those of the gated blocks), where bytes are those read for
one token: neither the embedding table nor the projection of the media. ``--compile`` gives all a static cache and
compiles what each can.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

NAMES = ('ours', 'Idefics', 'Mllama', 'bare LM')


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--every', type=int, nargs='+', default=[4, 1], help='layers per cross-attention; default: 4 1')
    parser.add_argument('--images', type=int, nargs='+', default=[1, 5], help='pictures of a prompt; default: 1 5')
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 4], help='prompts at a time; default: 1 4')
    parser.add_argument('--prompt', type=int, default=256, help='tokens of a prompt; default: %(default)s')
    parser.add_argument('--tokens', type=int, default=32, help='tokens to generate; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=5, help='default: %(default)s')
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32', help='default: %(default)s')
    parser.add_argument('--compile', action='store_true', help='static cache and torch.compile, for all that can')
    parser.add_argument(
        '--onednn',
        choices=('ours', 'all', 'none'),
        default='ours',
        help='whose float32 products go to oneDNN; default: those of mmgpt and its bare language model, as it sets it',
    )
    parser.add_argument('--busy', action='store_true', help='one thread and its own time: the machine is not idle')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)

    import mmgpt  # noqa: F401  (before transformers' Idefics: see mmgpt.compat)
    from bench.measure import alone, machine, matrix_peak, write

    if args.busy:
        Clock.now = staticmethod(alone())
    results = {
        'machine': machine(),
        'settings': {'dtype': args.dtype, 'compile': args.compile, 'onednn': args.onednn, 'prompt': args.prompt},
        'matrix_peak': matrix_peak(),
        'cases': [],
    }
    for every in args.every:
        models = build(every, args.dtype, sizes)
        for images, batch in itertools.product(args.images, args.batch):
            case = {'every': every, 'images': images, 'batch': batch, **compare(models, images, batch, args, sizes)}
            if not args.compile and batch == 1:
                case['next_turn'] = next_turn(models['ours'], images, args, sizes)
            results['cases'].append(case)
            show(case)
            write(args.json, results)
    if args.plot:
        draw(results, args.plot)
    return 0


def build(every: int, dtype: str, sizes=None) -> dict:
    """The models, in evaluation mode; the bare language model is the one inside ours."""
    import torch

    from bench import models

    sizes = sizes or models.SIZES
    peer = models.idefics(every, sizes)
    built = {'ours': folded(models.ours(peer)), 'Idefics': peer, 'Mllama': models.mllama(every, sizes)}
    built = {name: model.to(getattr(torch, dtype)).eval() for name, model in built.items()}
    return {**built, 'bare LM': built['ours'].language_model}


def folded(model):
    """The model as it is exported: the trained rows in the embedding and the head."""
    from mmgpt.models import Flamingo

    exported = Flamingo(model.config)
    exported.load_state_dict(model.state_dict())
    return exported


def prompts(images: int, batch: int, length: int, dtype: str, sizes) -> dict[str, dict]:
    """The same prompts for each model. Text sees the picture before it."""
    import torch

    from bench.models import ADDED, SIZES

    sizes = sizes or SIZES
    mark, side = sizes['text']['vocabulary'] + ADDED - 1, sizes['image']
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, sizes['text']['vocabulary'], (batch, length), generator=generator)
    ids[:, torch.arange(images) * (length // images)] = mark
    pixels = torch.randn(batch, images, 3, side, side, generator=generator).to(getattr(torch, dtype))
    looks = (torch.arange(1, images + 1) == (ids == mark).cumsum(1).unsqueeze(-1)).long()
    text = {'input_ids': ids, 'attention_mask': torch.ones_like(ids)}
    tiles = torch.ones(batch, images, dtype=torch.long)
    return {
        'ours': {**text, 'pixel_values': pixels.unsqueeze(2)},
        'Idefics': {**text, 'pixel_values': pixels, 'image_attention_mask': looks},
        'Mllama': {
            **text,
            'pixel_values': pixels.unsqueeze(2),
            'aspect_ratio_ids': tiles,
            'aspect_ratio_mask': tiles.unsqueeze(-1),
            'cross_attention_mask': looks.unsqueeze(-1),
        },
        'bare LM': text,
    }


class Clock:
    """A streamer that notes when each token came; the prompt is put first."""

    now = staticmethod(time.perf_counter)

    def __init__(self) -> None:
        self.start, self.times = self.now(), []

    def put(self, value) -> None:
        self.times.append(self.now())

    def end(self) -> None:
        pass

    @property
    def first(self) -> float:
        """Seconds until the first token."""
        return self.times[1] - self.start

    @property
    def rate(self) -> float:
        """Tokens per second after the first, of one row."""
        return (len(self.times) - 2) / (self.times[-1] - self.times[1])


def arguments(tokens: int, compiled: bool = False) -> dict:
    """Greedy, exactly so many tokens."""
    chosen = dict(max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)
    if compiled:
        from transformers import CompileConfig

        config = CompileConfig(fullgraph=False, dynamic=False, mode='default')
        config._compile_all_devices = True  # transformers compiles on accelerators only unless it is told
        chosen |= dict(cache_implementation='static', compile_config=config)
    return chosen


def compare(models: dict, images: int, batch: int, args, sizes) -> dict:
    """Tokens per second and time to the first one, in turn, and our ratios to the others."""
    import torch

    from bench.measure import in_turn, ratios, spread
    from bench.training import products

    given = prompts(images, batch, args.prompt, args.dtype, sizes)
    settings = {name: arguments(args.tokens, args.compile) for name in NAMES}
    said = dict.fromkeys(NAMES, 'static cache, compiled' if args.compile else 'growing cache')
    clocks: dict[str, list[Clock]] = {name: [] for name in NAMES}
    made = {}

    def run(name: str) -> None:
        # on one thread our model leaves a single token's products to MKL (matmul.products_of), so also its bare one
        left = name == 'bare LM' and batch == 1 == torch.get_num_threads() and not args.compile
        own = name in ('ours', 'bare LM') and not left
        with torch.inference_mode(), products(args.onednn == 'all' or (args.onednn == 'ours' and own)):
            clock = Clock()
            made[name] = models[name].generate(**given[name], **settings[name], streamer=clock)
        clocks[name].append(clock)

    if args.compile:
        for name in NAMES:
            try:
                run(name)
            except Exception as error:  # whatever a peer dies of; it then runs as it can, and the reason is told
                settings[name], said[name] = arguments(args.tokens), f'growing cache ({type(error).__name__} compiled)'
    in_turn({name: lambda name=name: run(name) for name in NAMES}, args.rounds)
    counted = {name: clocks[name][-args.rounds :] for name in NAMES}
    rates = {name: [batch * clock.rate for clock in counted[name]] for name in NAMES}
    firsts = {name: [clock.first for clock in counted[name]] for name in NAMES}
    share = weight_share(models['ours'])
    return {
        'settings': said,
        'tokens_per_second': {name: spread(values) for name, values in rates.items()},
        'first_seconds': {name: spread(values) for name, values in firsts.items()},
        'limit': share,
        'of_limit': ratios(rates['ours'], [share * rate for rate in rates['bare LM']]),
        'decoding': {name: ratios(rates['ours'], rates[name]) for name in ('Idefics', 'Mllama')},
        'prefill': {name: ratios(firsts[name], firsts['ours']) for name in ('Idefics', 'Mllama')},
        'same_tokens': (made['ours'] == made['Idefics'])[:, args.prompt :].float().mean().item(),
    }


def weight_share(model) -> float:
    """(bytes of the language model) / (the same and the gated blocks'), of those that are read for each token."""

    def size(parameters) -> int:
        return sum(p.numel() * p.element_size() for p in parameters)

    lm = size(p for name, p in model.language_model.named_parameters() if 'embed_tokens' not in name)
    gated = size(p for name, p in model.gated_blocks.named_parameters() if 'to_kv' not in name)
    return lm / (lm + gated)


def next_turn(model, images: int, args, sizes) -> dict:
    """Time to the first token of a second turn of 32 tokens with a picture, cold and going on from the first turn."""
    import torch

    from bench.measure import in_turn, ratios, spread
    from mmgpt.inference.dialogue_cache import DialogueCache

    given = prompts(images + 1, 1, args.prompt, args.dtype, sizes)['ours']
    ids, pixels = given['input_ids'], given['pixel_values']
    mark = model.config.media_token_id
    last = int((ids[0] == mark).nonzero()[-1])
    ids = torch.cat(
        (ids[:, :last], ids[:, last + 1 :], ids[:, last : last + 1]), 1
    )  # the last picture comes at the end
    firsts: dict[str, list[float]] = {'cold': [], 'reused': []}
    turns = ids[:, :-32] if ids.shape[1] > 64 else ids[:, :-2], ids

    def run(name: str) -> None:
        cache, clock = DialogueCache(model), None
        for turn in turns if name == 'reused' else turns[1:]:
            seen = pixels[:, : int((turn == mark).sum())]
            clock = Clock()
            cache.generate(turn, seen if seen.shape[1] else None, streamer=clock, **arguments(2))
        firsts[name].append(clock.first)

    in_turn({name: lambda name=name: run(name) for name in firsts}, args.rounds)
    counted = {name: values[-args.rounds :] for name, values in firsts.items()}
    found = {name: spread(values) for name, values in counted.items()}
    return {**found, 'ratio': ratios(counted['cold'], counted['reused'])}


def show(case: dict) -> None:
    """Prints a case."""
    print(f'every {case["every"]}, {case["images"]} images, batch {case["batch"]}')
    for name in NAMES:
        rate, first = case['tokens_per_second'][name], case['first_seconds'][name]
        print(
            f'  {name:<8} {rate["median"]:7.1f} tokens/s ({rate["min"]:.1f}-{rate["max"]:.1f}), first '
            f'{first["median"]:6.3f} s ({first["min"]:.3f}-{first["max"]:.3f}), {case["settings"][name]}'
        )
    print(
        f'  ours: {case["of_limit"]["median"]:.2f} of the limit ({case["limit"]:.2f} of the bare LM); decoding '
        + ', '.join(f'{found["median"]:.2f} x {name}' for name, found in case['decoding'].items())
        + f'; prefill {case["prefill"]["Idefics"]["median"]:.2f} x Idefics; same tokens {case["same_tokens"]:.0%}'
    )
    if 'next_turn' in case:
        print(f'  next turn: first token {case["next_turn"]["ratio"]["median"]:.2f} x sooner than cold', flush=True)


def draw(results: dict, path: Path) -> None:
    """Tokens per second of each case as bars, from the least to the greatest of the rounds as whiskers."""
    from matplotlib.figure import Figure

    cases = results['cases']
    figure = Figure(figsize=(2 + 1.5 * len(cases), 4), layout='tight')
    axes = figure.subplots()
    for offset, name in enumerate(NAMES):
        found = [case['tokens_per_second'][name] for case in cases]
        middle = [one['median'] for one in found]
        ends = [[m - one['min'] for m, one in zip(middle, found, strict=True)]]
        ends.append([one['max'] - m for m, one in zip(middle, found, strict=True)])
        places = [place + (offset - 1.5) * 0.2 for place in range(len(cases))]
        axes.bar(places, middle, 0.2, yerr=ends, capsize=2, label=name)
    labels = [f'every {c["every"]}\n{c["images"]} images\nbatch {c["batch"]}' for c in cases]
    axes.set_xticks(range(len(cases)), labels)
    axes.set_ylabel('tokens/s after the first')
    axes.legend()
    figure.savefig(path)


if __name__ == '__main__':
    raise SystemExit(main())
