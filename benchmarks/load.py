"""How much memory loading takes: the peak of anonymous memory over the bytes of the loaded weights.

    python benchmarks/load.py [--folder F] [--layers 24] [--width 2048] [--json R]

Writes a model of random numbers (1.9 B parameters by default, bfloat16, sharded safetensors) and its parts to a
temporary folder, then loads them, each time in a fresh process:

    folder             from_pretrained of the whole model, in the dtype of the files
    folder, float32    the same, every tensor converted while it is read
    parts              build_model with weights= of the language model and of the vision encoder, and added tokens

Anonymous memory (RssAnon) is what the process cannot give back: files that are mapped into memory are not counted. The
figure is the absolute one, so it holds the interpreter and its libraries too. Exits with 1 where a ratio is above 1.15.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

BOUND = 1.15
CASES = {'folder': 'auto', 'folder, float32': 'float32', 'parts': 'bfloat16'}
TOKENS = 32_000


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, help='where to keep the model; default: a temporary folder, removed')
    parser.add_argument('--layers', type=int, default=24, help='of the language model; default: %(default)s')
    parser.add_argument('--width', type=int, default=2048, help='of the language model; default: %(default)s')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--case', choices=CASES, help=argparse.SUPPRESS)  # what one of the fresh processes does
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)
    if args.case:
        print(json.dumps(measure(args.case, args.folder)))
        return 0
    with tempfile.TemporaryDirectory(prefix='load_') as scratch:
        folder = args.folder or Path(scratch)
        if not (folder / 'whole').is_dir():
            write(folder, args.layers, args.width)
        results = {case: in_fresh_process(case, folder) for case in CASES}
    for case, found in results.items():
        print(
            f'{case:<18} {found["parameters"] / 1e9:.2f} B parameters, {found["weights"] / 1e9:.2f} GB of weights, '
            f'peak {found["peak"] / 1e9:.2f} GB: {found["ratio"]:.3f} (bound {BOUND}), {found["seconds"]:.1f} s'
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + '\n')
    return int(any(found['ratio'] > BOUND for found in results.values()))


def in_fresh_process(case: str, folder: Path) -> dict:
    command = [sys.executable, __file__, '--folder', str(folder), '--case', case]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def model_config(layers: int, width: int) -> dict:
    vision = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    text = dict(hidden_size=width, intermediate_size=width * 43 // 16, num_hidden_layers=layers, vocab_size=TOKENS)
    return dict(
        vision_encoder=dict(type='ClipVision', config=dict(**vision, image_size=224, patch_size=14)),
        resampler=dict(type='PerceiverResampler'),
        text_config=dict(model_type='llama', **text, num_attention_heads=width // 128, bos_token_id=1, eos_token_id=2),
        cross_attention=dict(type='GatedCrossAttention'),
        cross_attn_every_n_layers=4,
        media_token_id=TOKENS - 1,
    )


def write(folder: Path, layers: int, width: int) -> None:
    """The whole model and its two published parts, of random numbers."""
    import torch

    import mmgpt  # noqa: F401
    from mmgpt.models.config import FlamingoConfig
    from mmgpt.models.flamingo import Flamingo

    with torch.device('meta'):
        model = Flamingo(FlamingoConfig(**model_config(layers, width))).bfloat16()
    model.to_empty(device='cpu')
    block = torch.randn(1 << 20).mul_(0.02).bfloat16()
    for parameter in model.parameters():
        flat = parameter.data.view(-1)
        flat.copy_(block.repeat(-(-flat.numel() // block.numel()))[: flat.numel()])
    model.save_pretrained(folder / 'whole', max_shard_size='1GB')
    model.language_model.save_pretrained(folder / 'language_model', max_shard_size='1GB')
    model.vision_encoder.tower.save_pretrained(folder / 'vision_encoder', max_shard_size='1GB')
    tokenizer().save_pretrained(folder / 'tokenizer')


def tokenizer():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {name: number for number, name in enumerate(['<unk>', '<s>', '</s>', *map(str, range(TOKENS - 3))])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, '<unk>')),
        unk_token='<unk>',
        bos_token='<s>',
        eos_token='</s>',
    )


def measure(case: str, folder: Path) -> dict:
    """Loads, and says what it took."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    import mmgpt  # noqa: F401

    start = time.perf_counter()
    with peak_of_anonymous_memory() as peak:
        if case == 'parts':
            model = from_parts(folder, AutoTokenizer.from_pretrained(folder / 'tokenizer'))
        else:
            model = AutoModelForImageTextToText.from_pretrained(folder / 'whole', dtype=CASES[case])
    seconds = time.perf_counter() - start
    assert not any(parameter.is_meta for parameter in model.parameters())
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    with torch.no_grad():
        assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.isfinite().all()
    return {
        'parameters': sum(parameter.numel() for parameter in model.parameters()),
        'weights': weights,
        'peak': peak[0],
        'ratio': peak[0] / weights,
        'seconds': seconds,
    }


def from_parts(folder: Path, tokenizer):
    from mmgpt.models.builder import build_model

    config = json.loads((folder / 'whole' / 'config.json').read_text())
    tokenizer.add_special_tokens({'extra_special_tokens': ['<|endofchunk|>', '<image>', '<answer>']})
    vision = dict(config['vision_encoder'], weights=str(folder / 'vision_encoder'))
    parts = dict(
        vision_encoder=vision,
        resampler=config['resampler'],
        language_decoder=dict(type='CausalLM', weights=str(folder / 'language_model'), dtype=CASES['parts']),
        cross_attention=config['cross_attention'],
        cross_attn_every_n_layers=config['cross_attn_every_n_layers'],
        trainable=['resampler', 'gated_blocks'],
        train_embeddings='new',
    )
    return build_model(parts, tokenizer)


@contextmanager
def peak_of_anonymous_memory():
    """Watches this process; yields a list whose only entry is the peak so far, in bytes."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            status = Path('/proc/self/status').read_text()
            peak[0] = max(peak[0], int(re.search(r'RssAnon:\s+(\d+) kB', status)[1]) * 1024)
            done.wait(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


if __name__ == '__main__':
    sys.exit(main())
