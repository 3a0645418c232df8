"""The server under load, under abuse, and in a dialogue; figures of one run, against a real process on this machine.

    python benchmarks/server.py [load] [abuse] [dialogue] [--clients 16] [--json R]

``load``: the same requests (text, 1 to 8 pictures, video; all different) by so many clients at a time, and offline by
``generate`` in batches of 16, in turn; then every answer of 32 clients against ``generate`` alone, token by token.
``dialogue``: seconds until the first token of a follow-up of a turn with 5 pictures, cold and going on. ``abuse``: what
a client may not do, each with its statuses, the server's memory, and whether it still answers. The model has random
weights and the size of ``benchmarks/generate.py``; all is sent to 127.0.0.1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

PARTS = ('load', 'dialogue', 'abuse')
SMALL = dict(
    image=112,
    patch=16,
    vision=dict(width=192, layers=6, heads=3, inner=768),
    text=dict(width=256, layers=4, heads=4, inner=688, vocabulary=32_000),
    resampler=dict(depth=2, latents=32, heads=4, head_width=64),
)
MARGIN = 1e-3  # between the two likeliest logits, below which rounding may choose


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('parts', nargs='*', choices=[[], *PARTS], help='default: all')
    parser.add_argument('--clients', type=int, default=16, help='default: %(default)s')
    parser.add_argument('--requests', type=int, default=48, help='of a round of load; default: %(default)s')
    parser.add_argument('--tokens', type=int, default=32, help='of an answer; default: %(default)s')
    parser.add_argument('--rounds', type=int, default=2, help='default: %(default)s')
    parser.add_argument('--small', action='store_true', help='a smaller model, for a machine that is busy')
    parser.add_argument('--still', action='store_true', help='no videos, whose frames offline batches pad pictures to')
    parser.add_argument('--flood', type=int, default=3000, help='requests beyond the queue; default: %(default)s')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)

    import mmgpt  # noqa: F401
    from bench import abuse
    from bench.measure import machine, write
    from bench.site import save_model, served
    from mmgpt.engine.console import start_tool

    start_tool()
    results = {'machine': machine()}
    chosen = args.parts or PARTS
    if args.small:
        sizes = SMALL
        results['sizes'] = sizes
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / 'bench'
        save_model(folder, sizes)
        with served(folder) as site:
            if 'load' in chosen:
                results['load'] = load(site, folder, args)
            if 'dialogue' in chosen:
                results['dialogue'] = dialogue(site, args)
            write(args.json, results)
        if 'abuse' in chosen:
            with served(folder, '--api-key', 'secret') as site:
                results['abuse'] = abuse.drill(site, args.flood)
            write(args.json, results)
    return 0


def mixed(count: int, seed: int, tokens: int, model: str, still: bool) -> list[dict]:
    """Requests of all kinds, or without videos; no two with the same text or picture."""
    from bench.site import part, png, video, words

    made = []
    for i in range(count):
        own = seed * 10_000 + i * 10
        kind = i % (9 if still else 10)
        media = [part(png(own + k), 'image/png') for k in range(kind if 1 <= kind <= 8 else 0)]
        if kind == 9:
            media = [part(video(own), 'video/mp4')]
        content = [*media, {'type': 'text', 'text': words(own, 16 + 12 * (i % 5))}]
        made.append(
            {'model': model, 'messages': [{'role': 'user', 'content': content}], 'max_tokens': tokens, 'temperature': 0}
        )
    return made


def load(site, folder: Path, args) -> dict:
    """Throughput beside offline batches, latency, batch size; then the ids under 32 clients."""
    import torch

    from bench.measure import ratios, spread
    from mmgpt.hub.io import load_folder

    model, processor = load_folder(folder, 'cpu')
    processor.tokenizer.padding_side = 'left'
    rates, latencies, sizes = {'server': [], 'offline': []}, [], []
    for number in range(-1, args.rounds):  # the first round warms both up
        requests = mixed(args.requests if number >= 0 else 16, 1 + number, args.tokens, site.model, args.still)
        before, start = site.counters(), time.perf_counter()
        with ThreadPoolExecutor(args.clients) as pool:
            answers = list(pool.map(site.send, requests))
        seconds, after = time.perf_counter() - start, site.counters()
        tokens = sum(answer['usage']['completion_tokens'] for _, answer, _ in answers)
        start, made = time.perf_counter(), 0
        for first in range(0, len(requests), 16):
            made += offline(model, processor, requests[first : first + 16], args.tokens)
        if number < 0:
            continue
        rates['server'].append(tokens / seconds)
        rates['offline'].append(made / (time.perf_counter() - start))
        latencies += [took for _, _, took in answers]
        steps, rows = (after[name] - before[name] for name in ('mmgpt_decode_steps_total', 'mmgpt_decoded_rows_total'))
        sizes.append(rows / steps)
        print(f'  round {number}: {rates["server"][-1]:.0f} and {rates["offline"][-1]:.0f} tokens/s', flush=True)
    result = {
        'clients': args.clients,
        'tokens_per_second': {name: spread(values) for name, values in rates.items()},
        'of_offline': ratios(rates['server'], rates['offline']),
        'latency_p50': statistics.median(latencies),
        'latency_p95': statistics.quantiles(latencies, n=20)[-1],
        'mean_batch': spread(sizes),
    }
    print(
        f'load, {args.clients} clients: {result["tokens_per_second"]["server"]["median"]:.0f} tokens/s, '
        f'{result["of_offline"]["median"]:.2f} of offline generate in batches of 16; latency p50 '
        f'{result["latency_p50"]:.2f} s, p95 {result["latency_p95"]:.2f} s; mean batch '
        f'{result["mean_batch"]["median"]:.1f}'
    )
    requests = mixed(32, 77, args.tokens, site.model, args.still)
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(site.send, requests))
    same, unclear, wrong = 0, [], []
    with torch.inference_mode():
        for place, (request, (status, answer, _)) in enumerate(zip(requests, answers, strict=True)):
            expected, margins = alone(model, processor, request, args.tokens)
            text = answer['choices'][0]['message']['content'] if status == 200 else f'status {status}'
            got = processor.tokenizer(text, add_special_tokens=False)['input_ids']
            differ = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), None)
            if differ is None and len(got) == len(expected):
                same += 1
            elif differ is not None and margins[differ] <= MARGIN:
                unclear.append({'request': place, 'token': differ, 'margin': margins[differ]})
            else:
                wrong.append({'request': place, 'token': differ, 'margin': margins[differ or 0]})
    result['ids'] = {'requests': 32, 'same': same, 'below_the_margin': unclear, 'wrong': wrong}
    print(f'ids under 32 clients: {same} of 32 as generate alone; below the margin: {unclear}; wrong: {wrong}')
    return result


def plain(request: dict) -> list[dict]:
    """A request's messages as the processor takes them."""
    content = [
        {'type': 'video', 'video': part['video_url']['url']} if part['type'] == 'video_url' else part
        for part in request['messages'][0]['content']
    ]
    return [{'role': 'user', 'content': content}]


def offline(model, processor, requests: list[dict], tokens: int) -> int:
    """Answers a batch; gives how many tokens were made."""
    inputs = processor.apply_chat_template(
        [plain(request) for request in requests], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    length = inputs['input_ids'].shape[1]
    out = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)[:, length:]
    return int((out != processor.pad_token_id).sum())


def alone(model, processor, request: dict, tokens: int) -> tuple[list[int], list[float]]:
    """The ids that the text of an answer shows, none of them special, and the margins they were chosen with."""
    inputs = processor.apply_chat_template(plain(request), add_generation_prompt=True, tokenize=True, return_dict=True)
    out = model.generate(
        **inputs, max_new_tokens=tokens, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    ids = out.sequences[0, inputs['input_ids'].shape[1] :].tolist()
    best = [scores[0].topk(2).values for scores in out.scores]
    special = set(processor.tokenizer.all_special_ids)
    shown = [(i, float(two[0] - two[1])) for i, two in zip(ids, best, strict=True) if i not in special]
    return [i for i, _ in shown], [margin for _, margin in shown]


def dialogue(site, args) -> dict:
    """Seconds until the first token of a second turn, whose first one had 5 pictures and 256 tokens."""
    from bench.measure import ratios, spread
    from bench.site import part, png, words

    found: dict[str, dict] = {}
    for kind, more in {'text': 0, 'picture': 1}.items():
        firsts: dict[str, list[float]] = {'cold': [], 'going on': []}
        for number in range(-1, max(args.rounds, 5)):
            for name in firsts:
                own = 500_000 + 1000 * number + (100 if name == 'cold' else 0) + 10 * more
                first = [part(png(own + k), 'image/png') for k in range(5)]
                messages = [{'role': 'user', 'content': [*first, {'type': 'text', 'text': words(own, 220)}]}]
                body = {'model': site.model, 'max_tokens': 4, 'temperature': 0}
                answer = words(own + 5, 4)
                if name == 'going on':
                    _, answer = site.first_token({**body, 'messages': messages})
                new = [part(png(own + 6), 'image/png')] * more
                messages += [
                    {'role': 'assistant', 'content': answer},
                    {'role': 'user', 'content': [*new, {'type': 'text', 'text': words(own + 7, 24)}]},
                ]
                seconds, _ = site.first_token({**body, 'messages': messages})
                if number >= 0:
                    firsts[name].append(seconds)
        found[kind] = {name: spread(values) for name, values in firsts.items()}
        found[kind]['ratio'] = ratios(firsts['cold'], firsts['going on'])
        print(
            f'dialogue, 5 pictures, follow-up with {kind}: first token after {found[kind]["cold"]["median"]:.3f} s '
            f'cold, {found[kind]["going on"]["median"]:.3f} s going on: {found[kind]["ratio"]["median"]:.1f} x sooner'
        )
    return found


if __name__ == '__main__':
    raise SystemExit(main())
