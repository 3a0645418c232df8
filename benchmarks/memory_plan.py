"""What plan_memory predicts of a step's memory, and what it takes: bytes of living tensors, and the process's own.

    python benchmarks/memory_plan.py [--json R] [--plot P]

Each case is a model and a batch. The prediction (``mmgpt/engine/memory_trace.py``) runs the model without values; then
the step is run, in a process of its own: once for the optimiser's state and for what libraries keep, and once more
while every storage is followed. *Tensors* are parameters, gradients, optimiser state and activations when most are
alive, and so is the prediction. *Process* is what resident memory grew by (VmHWM after the steps, over VmRSS before the
model was built); with ``--device cuda`` it is what PyTorch has allocated. The exit code is 1 where one is off by more
than a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

VISION = dict(
    hidden_size=192, intermediate_size=768, num_hidden_layers=6, num_attention_heads=3, image_size=112, patch_size=14
)
TEXT = dict(
    model_type='llama',
    vocab_size=8000,
    hidden_size=384,
    intermediate_size=1024,
    num_hidden_layers=8,
    num_attention_heads=6,
    max_position_embeddings=1024,
)
# name -> batch, and what differs from float32 with resampler and gated blocks trained
CASES = {
    'one picture': dict(batch=dict(rows=4, tokens=128)),
    'bfloat16': dict(batch=dict(rows=4, tokens=128), precision='bf16'),
    'five pictures': dict(batch=dict(rows=4, tokens=128, images=5)),
    'a video of eight frames': dict(batch=dict(rows=2, tokens=128, frames=8)),
    'text alone': dict(batch=dict(rows=4, tokens=256, images=0), trainable=['language_model']),
    'longer and more rows': dict(batch=dict(rows=8, tokens=384)),
    'one packed row': dict(batch=dict(rows=1, tokens=768, samples=6)),
    'activations made again': dict(batch=dict(rows=8, tokens=384), checkpointing=True),
    'everything trained': dict(batch=dict(rows=4, tokens=128), trainable=['*']),
    'MPT, bfloat16': dict(batch=dict(rows=4, tokens=128), precision='bf16', text='mpt'),
}
MPT = dict(model_type='mpt', vocab_size=8000, d_model=384, n_layers=8, n_heads=6, expansion_ratio=4, max_seq_len=1024)


def build(case: dict):
    """The model of a case."""
    from mmgpt.models import Flamingo, FlamingoConfig
    from mmgpt.models.layerwise import checkpoint_activations
    from mmgpt.models.trainable import set_trainable

    text = MPT if case.get('text') == 'mpt' else TEXT
    model = Flamingo(
        FlamingoConfig(
            vision_encoder=dict(type='ClipVision', config=VISION),
            resampler=dict(type='PerceiverResampler', depth=2, num_latents=32, heads=6, head_width=64, max_frames=8),
            text_config=dict(text, bos_token_id=1, eos_token_id=2, pad_token_id=0),
            cross_attention=dict(type='GatedCrossAttention', heads=6, head_width=64),
            cross_attn_every_n_layers=2,
            media_token_id=7999,
        )
    ).train()
    set_trainable(model, case.get('trainable', ['resampler', 'gated_blocks']))
    if case.get('checkpointing'):
        checkpoint_activations(model)
    return model


def predict(case: dict, device: str) -> int:
    """Bytes."""
    import torch

    from mmgpt.engine.memory_plan import optimizer_bytes
    from mmgpt.engine.memory_trace import plan_batch, trace_step

    with torch.device('meta'):
        model = build(case)
    parameters = sum(p.nbytes for p in model.parameters())
    state = optimizer_bytes(model)
    step = trace_step(model, plan_batch(model, **case['batch']), case.get('precision', 'fp32'), device)
    return parameters + state + step.peak


def measure(case: dict, device: str) -> dict[str, int]:
    """Bytes of tensors, and of the process."""
    import torch

    from bench.memory import PeakMemory, live_bytes, state_bytes
    from mmgpt.engine.memory_trace import plan_batch

    memory = PeakMemory(device)
    memory.restart()
    model = build(case).to(device)
    batch = {name: value.to(device) for name, value in plan_batch(model, **case['batch'], real=True).items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-8, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=case.get('precision') == 'bf16'):
            sums = model.compute_loss(batch)
        (sums.loss_sum / sums.weight_sum).backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    grown = memory.bytes()
    live = live_bytes(step)
    return {'process': grown, 'tensors': live + state_bytes(optimizer) + sum(p.nbytes for p in model.parameters())}


def in_process(function, *args):
    """What a function gives in a process forked from this one."""
    import torch

    receiving, sending = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            torch.set_num_threads(1)  # makes the lost pool of threads anew; threads of autograd would do so in a race
            os.write(sending, json.dumps(function(*args)).encode())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        text = pipe.read()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError('a case failed; its traceback is above')
    return json.loads(text)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES), metavar='NAME', help='default: all')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)
    import torch

    import mmgpt  # noqa: F401
    from bench.measure import machine, write
    from bench.memory import MIB
    from mmgpt.models.matmul import prefer_onednn

    torch.set_num_threads(1)  # so that processes can be forked
    prefer_onednn()
    results = {'machine': machine(), 'cases': {}}
    print(f'{"":<26} {"predicted":>10} {"tensors":>10} {"error":>7} {"process":>10}   MiB')
    for name in args.cases:
        found = measure if args.device == 'cuda' else lambda *given: in_process(measure, *given)
        predicted = in_process(predict, CASES[name], args.device)
        case = {'predicted': predicted, **found(CASES[name], args.device)}
        case['error'] = case['predicted'] / case['tensors'] - 1
        results['cases'][name] = case
        shown = '  '.join(f'{case[key] / MIB:9.1f}' for key in ('predicted', 'tensors'))
        print(f'{name:<26}  {shown} {case["error"]:+7.1%}  {case["process"] / MIB:9.1f}', flush=True)
        write(args.json, results)
    if args.plot:
        plot(results, args.plot)
    return int(any(abs(case['error']) > 0.1 for case in results['cases'].values()))


def plot(results, path: Path) -> None:
    """Bars beside each other."""
    from matplotlib.figure import Figure

    from bench.memory import MIB

    cases = results['cases']
    figure = Figure(figsize=(8, 0.6 * len(cases) + 1.2), layout='tight')
    axes = figure.subplots()
    for offset, key in enumerate(('predicted', 'tensors', 'process')):
        values = [case[key] / MIB for case in cases.values()]
        axes.barh([number + 0.27 * offset for number in range(len(cases))], values, 0.27, label=key)
    axes.set_yticks([number + 0.27 for number in range(len(cases))], list(cases))
    axes.invert_yaxis()
    axes.legend()
    axes.set_xlabel('MiB at the peak of a step')
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    raise SystemExit(main())
