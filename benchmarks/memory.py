"""Peak memory of a training step above the process with its weights loaded, by mmgpt and by Hugging Face's Idefics.

    python benchmarks/memory.py [--images 1] [--text-only 0.3] [--every 1] [--precision bf16] [--json R] [--plot P]

The models, samples and steps of ``train_step.py``, each case in a fresh process:

    idefics, padded                a batch as rows of the longest one's length
    idefics, one by one            no padding: each sample by itself, gradients added up
    ours                           one packed row
    ours, one by one               each sample by itself, gradients added up: micro-batches of one sample
    ours, gradient checkpointing   the same, activations of every layer made again in the backward pass
    ours, cached features          the same as ours with the features of the frozen vision encoder at hand

All batches are run once, for optimiser state, libraries and buffers that stay, and once more with the peak watched. On
a CPU the figure is resident memory (VmHWM after, over VmRSS once the model is built), and beside it the bytes of
living tensors of a step with the optimiser's state, which know nothing of allocators and libraries; on a GPU it is what
PyTorch has allocated. Gradients and optimiser state of the trained parts, which are in all of them, are printed beside
it: no case can need less. By default the batch is of four samples at even quantiles of the lengths; ``--samples 32`` is
the whole mixture, whose longest batch decides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from bench.arguments import add_workload

BATCH = 4
PEERS = ('idefics, padded', 'idefics, one by one')
OURS = ('ours', 'ours, one by one', 'ours, gradient checkpointing', 'ours, cached features')


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_workload(parser)
    parser.add_argument('--samples', type=int, default=BATCH, help='in batches of 4; default: %(default)s')
    parser.add_argument('--device', choices=('cpu', 'cuda'), help='default: a GPU where there is one')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--plot', type=Path, help='where to draw them')
    parser.add_argument('--case', choices=PEERS + OURS, help=argparse.SUPPRESS)  # what one of the fresh processes does
    parser.add_argument('--sizes', type=json.loads, help=argparse.SUPPRESS)  # of the models, for it
    return parser.parse_args(argv)


def main(argv=None, sizes=None) -> int:
    args = parse(argv)
    if args.case:
        print(json.dumps(measure(args.case, args, args.sizes)))
        return 0
    from bench.measure import machine, write
    from bench.memory import MIB

    options = ('images', 'text_only', 'every', 'precision', 'samples', 'device')
    results = {'settings': {name: getattr(args, name) for name in options}, 'machine': machine(), 'cases': {}}
    for case in PEERS + OURS:
        found = results['cases'][case] = in_fresh_process(case, args, sizes)
        peers = {name: results['cases'][name] for name in PEERS if name in results['cases']}
        found['ratio'] = {name: found['peak'] / peer['peak'] for name, peer in peers.items()}
        live = f', tensors {found["live"] / MIB:5.0f}' if 'live' in found else ''
        print(
            f'{case:<29} {found["peak"] / MIB:6.0f} MiB{live}, gradients and optimiser state '
            f'{found["gradients_and_state"] / MIB:.0f} (weights {found["weights"] / MIB:.0f})  '
            + '  '.join(f'{ratio:.2f} x {name}' for name, ratio in found['ratio'].items() if name != case),
            flush=True,
        )
    write(args.json, results)
    if args.plot:
        plot(results, args.plot)
    return 0


def in_fresh_process(case: str, args, sizes) -> dict:
    """What ``measure`` finds in a process of its own."""
    given = {
        '--images': args.images,
        '--text-only': args.text_only,
        '--every': args.every,
        '--precision': args.precision,
        '--samples': args.samples,
        '--device': args.device,
        '--case': case,
        '--sizes': json.dumps(sizes) if sizes else None,
    }
    words = [str(word) for option, value in given.items() if value is not None for word in (option, value)]
    command = [sys.executable, __file__, *words]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def measure(case: str, args, sizes=None) -> dict:
    """Builds one case, runs it, and says what it took."""
    import torch

    import mmgpt  # noqa: F401  (before transformers: it mends what stands in Idefics' way)
    from bench.memory import PeakMemory, live_bytes, state_bytes
    from bench.models import SIZES, trained
    from bench.samples import mixture

    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    sizes = sizes or SIZES
    samples = mixture(args.samples, args.images, args.text_only, sizes=sizes)
    batches = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
    model, steps = build(case, args, sizes, batches, device)
    memory = PeakMemory(device)
    steps()
    memory.restart()
    steps()
    found = {'peak': memory.bytes(), 'weights': sum(p.numel() * p.element_size() for p in model.parameters())}
    state = state_bytes(steps.optimizer)
    found['gradients_and_state'] = state + sum(p.numel() * p.element_size() for p in trained(model))
    if device == 'cpu':
        found['live'] = live_bytes(steps) + state
    return found


def build(case: str, args, sizes, batches, device: str):
    """The model of a case and its steps."""
    import torch

    from bench.models import idefics, ours
    from bench.training import Steps, loss_of_idefics, loss_of_ours
    from mmgpt.models.layerwise import checkpoint_activations

    model = idefics(args.every, sizes)
    if case in OURS:
        model = ours(model)
    model.to(device).train()
    loss = partial(loss_of_idefics if case in PEERS else loss_of_ours, model)
    features = {}
    if case == 'ours, gradient checkpointing':
        checkpoint_activations(model)
    if case == 'ours, cached features':
        with torch.no_grad():
            for batch in batches:
                pixels = torch.cat([sample.pixels for sample in batch]).to(device)
                features[id(batch)] = model.vision_encoder(pixels) if len(pixels) else None

    def losses(batch):
        if case.endswith('one by one'):
            return [partial(loss, [sample]) for sample in batch]
        return [partial(loss, batch, features[id(batch)]) if features else partial(loss, batch)]

    return model, Steps(model, losses, batches, args.precision, onednn=case in OURS and device == 'cpu')


def plot(results, path: Path) -> None:
    """Bars of the peak, and of the tensors alone where they were counted."""
    from matplotlib.figure import Figure

    from bench.memory import MIB

    cases = results['cases']
    figure = Figure(figsize=(8, 0.6 * len(cases) + 1.2), layout='tight')
    axes = figure.subplots()
    for offset, (key, label) in enumerate({'peak': 'process', 'live': 'tensors'}.items()):
        values = {number: case[key] / MIB for number, case in enumerate(cases.values()) if key in case}
        if values:
            axes.barh([number + 0.4 * offset for number in values], list(values.values()), 0.4, label=label)
    axes.set_yticks([number + 0.2 for number in range(len(cases))], list(cases))
    axes.invert_yaxis()
    axes.legend()
    settings = results['settings']
    axes.set_xlabel(f'MiB above the weights ({settings["precision"]}, {settings["images"]} pictures a sample)')
    figure.savefig(path, dpi=120)


if __name__ == '__main__':
    raise SystemExit(main())
