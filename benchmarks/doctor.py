"""How many samples per second the data's doctor looks through, without images.

    python benchmarks/doctor.py [--samples 20000] [--jobs 2] [--json R]

Writes a MIMIC-IT set of text (questions of 12 words, answers of 60, two context ids each) to a temporary folder and
looks through it with a LLaMA-type tokenizer trained on that text: JSON, types, ids, contexts, special tokens, labels
with a limit, answer lengths. The indexes are opened before; the figure is of the examination. Exits with 1 below 2000.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

BOUND = 2000
TEXT = 'the red car leaves a lot before the gate opens while one person walks with a dog and an umbrella'
WORDS = TEXT.split()


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--samples', type=int, default=20_000)
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--json', type=Path, help='where to write the figures')
    return parser.parse_args(argv)


def text(rng: random.Random, words: int) -> str:
    return ' '.join(rng.choices(WORDS, k=words))


def write(folder: Path, samples: int) -> Path:
    rng = random.Random(0)
    ids = [f'SD_INS_{i:07d}' for i in range(samples)]
    data = {
        id: {
            'instruction': f'{text(rng, 12)}?',
            'answer': f'{text(rng, 60)}.',
            'image_ids': [],
            'rel_ins_ids': [ids[i - 1], ids[i - 2]] if i > 1 else [],
        }
        for i, id in enumerate(ids)
    }
    path = folder / 'SD_instructions.json'
    path.write_text(json.dumps({'meta': {}, 'data': data}), encoding='utf-8')
    return path


def main(argv=None) -> int:
    args = parse(argv)
    from mmgpt.data.builders.digits import write_tokenizer
    from mmgpt.data.opening import NamedData
    from mmgpt.data.verify import examine, open_patient

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = random.Random(1)
        write_tokenizer(folder / 'tokenizer', [text(rng, 20) for _ in range(2000)])
        path = write(folder, args.samples)
        start = time.perf_counter()
        patient = open_patient(NamedData.of_files('mimicit', path, None, 'Otter', folder / 'tokenizer', 512))
        opened = time.perf_counter()
        report = examine(patient, args.jobs)
        seconds = time.perf_counter() - opened
    rate = report.samples / seconds
    figures = {
        'samples': report.samples,
        'jobs': args.jobs,
        'open_seconds': round(opened - start, 2),
        'seconds': round(seconds, 2),
        'samples_per_second': round(rate),
        'findings': len(report.findings),
    }
    print(json.dumps(figures))
    if args.json:
        args.json.write_text(json.dumps(figures) + '\n', encoding='utf-8')
    return 0 if rate >= BOUND and not report.findings else 1


if __name__ == '__main__':
    sys.exit(main())
