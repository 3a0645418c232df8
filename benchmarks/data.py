"""What opening and reading data takes at full size: seconds, anonymous memory, samples per second.

    python benchmarks/data.py [--folder F] [--images 100000] [--instructions 1000000] [--json R]

Writes MIMIC-IT files to a temporary folder: Parquet files of photograph-like JPEGs (224 x 224 pixels, about 20 KB),
instructions that show one each, and a training file that names all of them with a context each: a small set of 5,000
images; the large one; one as pandas writes it (20,000 images in one compressed row group, which are rewritten once);
and the ids alone in the size of the whole MIMIC-IT (3 million instructions, 8.1 million images). Then, each in a fresh
process:

    index SET    the indexes are made: seconds, peak of anonymous memory, bytes that are kept on disk
    open SET     they are opened and 100 samples read: seconds, growth of anonymous memory
    deliver      a loader with two workers: collated uint8 batches; in turn with two processes that only decode, which
                 is the limit of the machine: the ratio is one that a busy machine cannot falsify

Anonymous memory (RssAnon) is what the process cannot give back: files that are mapped into memory are not counted.
Exits with 1 where opening takes 3 s or more, memory grows by 300 MB or more in all or by 50 MB or more from the small
store to the large one, or fewer than 800 samples/s come although the machine could decode as many.
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
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SMALL = 5_000  # images of the store that the large one is compared with
IDS = 8_100_000, 3_000_000  # images and instructions of the whole MIMIC-IT
PER_FILE = 20_000  # pictures
PANDAS = 20_000, 20_000  # images and instructions of the set that pandas wrote
BATCH = 64
ROUNDS, SECONDS = 3, 6.0  # of delivering and of decoding in turn
BOUNDS = {'seconds': 3.0, 'grown': 300e6, 'grown with the store': 50e6, 'samples/s': 800.0}


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, help='where to keep the files; default: a temporary folder, removed')
    parser.add_argument('--images', type=int, default=100_000, help='default: %(default)s')
    parser.add_argument('--instructions', type=int, default=1_000_000, help='default: %(default)s')
    parser.add_argument('--no-ids', action='store_true', help='leave out the ids of the whole MIMIC-IT')
    parser.add_argument('--json', type=Path, help='where to write the figures')
    parser.add_argument('--case', help=argparse.SUPPRESS)  # what one of the fresh processes does
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)
    if args.case:
        step, name = args.case.split(':')
        found = deliver_and_decode(args.folder / name) if step == 'deliver' else open_once(args.folder / name)
        print(json.dumps(found))
        return 0
    with tempfile.TemporaryDirectory(prefix='data_') as scratch:
        folder = args.folder or Path(scratch)
        sizes = {
            'small': (SMALL, args.instructions),
            'large': (args.images, args.instructions),
            'pandas': PANDAS,
            'ids': IDS,
        }
        if args.no_ids:
            del sizes['ids']
        results = {}
        for name, (images, instructions) in sizes.items():
            if not (folder / name).is_dir():
                write(folder / name, images, instructions, name)
            results[f'index {name}'] = in_fresh_process(f'index:{name}', folder)
            results[f'open {name}'] = in_fresh_process(f'open:{name}', folder)
            show(results, f'index {name}', f'open {name}')
        results['deliver'] = in_fresh_process('deliver:large', folder)
        show(results, 'deliver')
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + '\n')
    return int(bool(faults(results)))


def show(results: dict, *names: str) -> None:
    for name in names:
        figures = (f'{key} {value:,.2f}' for key, value in results[name].items() if not isinstance(value, list))
        print(f'{name:<12} {", ".join(figures)}', flush=True)


def faults(results: dict) -> list[str]:
    """What is beyond its bound, told on the way."""
    found = []
    opened = {name: result for name, result in results.items() if name.startswith('open')}
    for name, result in opened.items():
        found += [f'{name}: {key}' for key in ('seconds', 'grown') if result[key] >= BOUNDS[key]]
    if results['open large']['grown'] - results['open small']['grown'] >= BOUNDS['grown with the store']:
        found.append('memory grows with the store')
    delivered = results['deliver']
    if delivered['samples/s'] < BOUNDS['samples/s']:
        limit = delivered['decoded/s']
        if limit > 1.5 * BOUNDS['samples/s']:
            found.append('too few samples/s')
        else:
            print(f'the pixels are the limit: this machine decodes {limit:.0f} of these pictures a second now')
    for fault in found:
        print(f'beyond its bound: {fault}')
    return found


def in_fresh_process(case: str, folder: Path) -> dict:
    command = [sys.executable, __file__, '--folder', str(folder), '--case', case]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def write(folder: Path, images: int, instructions: int, name: str) -> None:
    """MIMIC-IT files; of the set ``ids`` without pictures."""
    from mmgpt.data.image_stores import write_parquet_images

    folder.mkdir(parents=True)
    examples = [b''] if name == 'ids' else [picture(number) for number in range(64)]
    per_file = 1_000_000 if name == 'ids' else PER_FILE
    for start in range(0, images, per_file):
        numbers = range(start, min(start + per_file, images))
        cells = ((image_id(number), examples[number % len(examples)]) for number in numbers)
        file = folder / 'images' / f'XX_{start:08d}.parquet'
        write_as_pandas(file, dict(cells)) if name == 'pandas' else write_parquet_images(file, cells)
    with (folder / 'XX_instructions.json').open('w') as file:
        file.write('{"meta": {"version": "0.0.1"}, "data": {')
        for number in range(instructions):
            record = {
                'instruction': f'What can be seen at the {number % 97}. place of the picture, and what lies beside it?',
                'answer': f'A house with {number % 13} windows stands there; a road of stones leads past it to a lake.',
                'image_ids': [image_id(number * 7919 % images)],
                'rel_ins_ids': [],
            }
            file.write(f'{", " * (number > 0)}"XX_INS_{number:08d}": {json.dumps(record)}')
        file.write('}}')
    with (folder / 'XX_train.json').open('w') as file:
        members = (f'"XX_INS_{n:08d}": ["XX_INS_{n // 2:08d}"]' for n in range(instructions))
        file.write('{' + next(members))
        file.writelines(f', {member}' for member in members)
        file.write('}')


def write_as_pandas(file: Path, cells: dict[str, bytes]) -> None:
    """One compressed row group, as ``DataFrame.to_parquet`` makes of a frame with the ids as its index."""
    import base64

    import pyarrow as pa
    import pyarrow.parquet as pq

    file.parent.mkdir(parents=True)
    texts = [base64.b64encode(data).decode() for data in cells.values()]
    table = pa.table({'base64': texts, '__index_level_0__': list(cells)})
    table = table.replace_schema_metadata({'pandas': json.dumps({'index_columns': ['__index_level_0__']})})
    pq.write_table(table, file)


def image_id(number: int) -> str:
    return f'XX_IMG_{number:08d}'


def picture(number: int) -> bytes:
    """A JPEG of 224 x 224 pixels as large as one of a photograph."""
    import io

    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8)).resize((224, 224), Image.BICUBIC)
    pixels = np.asarray(coarse) + rng.normal(0, 11, (224, 224, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, 'JPEG', quality=90)
    return file.getvalue()


def open_once(folder: Path) -> dict:
    """Opens the files, makes their indexes where there are none, and reads 100 samples."""
    from mmgpt.data.image_stores import ParquetImages
    from mmgpt.data.sources import MimicIt

    before, start = anonymous_memory(), time.perf_counter()
    with Peak() as peak:
        images = ParquetImages(folder / 'images')
        source = MimicIt(folder / 'XX_instructions.json', images, train=folder / 'XX_train.json')
        seconds = time.perf_counter() - start
        for index in range(0, len(source), len(source) // 100):
            sample = source[index]
            data = source.images.read(sample.turns[0].media[0].frames[0])
            assert source.find(sample.context_ids[0]).id == f'XX_INS_{index // 2:08d}'
    return {
        'seconds': seconds,
        'grown': anonymous_memory() - before,
        'peak': peak.most - before,
        'kept on disk': sum(file.stat().st_size for file in folder.glob('**/.mmgpt/**/*') if file.is_file()),
        'instructions': len(source),
        'images': len(source.images),
        'bytes of a picture': len(data),
    }


class Peak:
    """The most anonymous memory that this process has while it is entered."""

    def __enter__(self) -> Peak:
        self.most, self.left = anonymous_memory(), threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        return self

    def __exit__(self, *exc) -> None:
        self.left.set()
        self.watch.join()

    def _watch(self) -> None:
        while not self.left.wait(0.02):
            self.most = max(self.most, anonymous_memory())


def deliver_and_decode(folder: Path) -> dict:
    """A loader with two workers and two processes that only decode, in turn; the medians."""
    import torch

    from mmgpt.data.builder import build_dataloader, build_prompter

    torch.set_num_threads(1)
    before = anonymous_memory()
    prompter = build_prompter({'type': 'Otter'}, tokenizer(folder), {'size': 224})
    files = {'instructions': 'XX_instructions.json', 'train': 'XX_train.json', 'images': 'images'}
    source = dict(type='MimicIt', **{key: str(folder / name) for key, name in files.items()})
    loader = build_dataloader(dict(batch_size=BATCH, num_workers=2, dataset=dict(sources=[source])), prompter)
    batches = iter(loader)
    for _ in range(8):
        batch = next(batches)
    assert batch['frames'].shape[1:] == (3, 224, 224)
    assert batch['frames'].dtype == torch.uint8
    delivered, decoded = [], []
    pictures = [picture(number) for number in range(64)]
    with ProcessPoolExecutor(2) as pool:
        for _ in range(ROUNDS):
            delivered.append(rate(lambda: len(next(batches)['input_ids'])))
            time.sleep(0.5)  # until the workers have filled their queues and stand still
            decoded.append(sum(pool.map(decode, [pictures] * 2)))
            for _ in range(4):
                next(batches)  # what was made meanwhile
    grown = anonymous_memory() - before
    middle = sorted(range(ROUNDS), key=lambda i: delivered[i] / decoded[i])[ROUNDS // 2]
    return {
        'samples/s': sorted(delivered)[ROUNDS // 2],
        'decoded/s': sorted(decoded)[ROUNDS // 2],
        'ratio': delivered[middle] / decoded[middle],
        'grown': grown,
        'all samples/s': delivered,
        'all decoded/s': decoded,
    }


def rate(step) -> float:
    """How many a second a step gives."""
    start, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < SECONDS:
        count += step()
    return count / seconds


def decode(pictures: list[bytes]) -> float:
    """Pictures a second that Pillow alone turns into RGB pixels."""
    import io
    from itertools import cycle

    from PIL import Image

    waiting = cycle(pictures)
    return rate(lambda: Image.open(io.BytesIO(next(waiting))).load() is not None)


def tokenizer(folder: Path):
    """A small byte-level BPE tokenizer, trained on the instructions."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from mmgpt.data.templates import Otter
    from mmgpt.data.tokens import add_special_tokens

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    with (folder / 'XX_instructions.json').open() as file:
        text = file.read(1 << 18)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=letters, show_progress=False)
    bpe.train_from_iterator([text], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token='<s>', eos_token='</s>', unk_token='<unk>')
    add_special_tokens(fast, Otter())
    return fast


def anonymous_memory() -> int:
    """Of this process, in bytes."""
    return int(re.search(r'RssAnon:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024


if __name__ == '__main__':
    sys.exit(main())
