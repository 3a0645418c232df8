"""Small data sets in the published formats, and configs that evaluate on them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.conftest import picture_bytes

QUESTIONS = ['What is this?', 'How many dogs are there?', 'Is it hot?', 'What colour is the small cat on the left?']
ANSWERS = ['dog', 'two', 'yes', 'a red cat', "don't know", 'shoes']


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture_bytes(number, format='PNG' if path.suffix == '.png' else 'JPEG'))


def write(path: Path, value) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return str(path)


def vqa(folder: Path, name: str = 'vqav2', count: int = 10, pool: int = 6) -> dict:
    """A data set in the VQA format; its task's config."""
    names = {
        'vqav2': lambda split, i: (i, f'COCO_{split}_{i:012d}.jpg'),
        'ok_vqa': lambda split, i: (i, f'COCO_{split}_{i:012d}.jpg'),
        'textvqa': lambda split, i: (f'{i:016x}', f'{i:016x}.jpg'),
        'vizwiz': lambda split, i: (f'VizWiz_{split}_{i:08d}.jpg',) * 2,
    }[name]
    rng = random.Random(name)
    task = dict(type='VQA', name=name)
    for prefix, split, size in (('', 'val2014', count), ('train_', 'train2014', pool)):
        questions, annotations = [], []
        for number in range(size):
            image_id, file = names(split, number + 1)
            picture(folder / split / file, number + 100 * len(prefix))
            id = 1000 * (number + 1) + len(prefix)
            questions.append({'image_id': image_id, 'question': rng.choice(QUESTIONS), 'question_id': id})
            answers = [
                {'answer': rng.choice(ANSWERS), 'answer_confidence': 'yes', 'answer_id': i} for i in range(1, 11)
            ]
            annotations.append(
                {
                    'question_id': id,
                    'image_id': image_id,
                    'question_type': rng.choice(['what', 'how many']),
                    'answer_type': rng.choice(['other', 'number']),
                    'answers': answers,
                }
            )
        head = {'info': {}, 'data_type': 'mscoco', 'data_subtype': split, 'license': {}}
        task[f'{prefix}questions'] = write(
            folder / f'{split}_questions.json', {**head, 'task_type': 'Open-Ended', 'questions': questions}
        )
        task[f'{prefix}annotations'] = write(folder / f'{split}_annotations.json', {**head, 'annotations': annotations})
        task[f'{prefix}images'] = str(folder / split)
    return task


def captions(folder: Path, name: str = 'coco', count: int = 7, pool: int = 6) -> dict:
    """A Karpathy file with its pictures; its task's config."""
    rng = random.Random(name)
    images = []
    for number in range(count + pool):
        split = 'test' if number < count else ('train', 'restval')[number == count]
        if name == 'coco':
            where = 'val2014' if split != 'train' else 'train2014'
            own = {'filepath': where, 'filename': f'COCO_{where}_{number:012d}.jpg', 'cocoid': number}
        else:
            where, own = '', {'filename': f'{number:07d}.jpg'}
        picture(folder / where / own['filename'], number)
        said = [{'raw': f'A {rng.choice(ANSWERS)} on the street.', 'tokens': []} for _ in range(5)]
        images.append({**own, 'split': split, 'sentences': said, 'imgid': number})
    path = write(folder / f'dataset_{name}.json', {'images': images, 'dataset': name})
    images = dict(images=str(folder / 'train2014'), val_images=str(folder / 'val2014'))
    return dict(
        type='Captions', name=name, annotations=path, **(images if name == 'coco' else dict(images=str(folder)))
    )


def hateful_memes(folder: Path, count: int = 8, pool: int = 6) -> dict:
    """Lines of memes with their pictures; its task's config."""
    task = dict(type='HatefulMemes', images=str(folder))
    for key, name, size in (('annotations', 'dev.jsonl', count), ('train_annotations', 'train.jsonl', pool)):
        lines = []
        for number in range(size):
            id = 1000 * len(key) + number
            picture(folder / f'img/{id:05d}.png', id)
            record = {'id': id, 'img': f'img/{id:05d}.png', 'label': number % 2, 'text': QUESTIONS[number % 4]}
            lines.append(json.dumps(record))
        (folder / name).write_text('\n'.join(lines) + '\n')
        task[key] = str(folder / name)
    return task


def imagenet(folder: Path, classes: int = 4, each: int = 2) -> dict:
    """Folders of pictures by class; its task's config."""
    names = {f'n{number:08d}': name for number, name in enumerate(('tench', 'great white shark', 'hen', 'red fox'))}
    for split in ('val', 'train'):
        for number, wordnet in enumerate(list(names)[:classes]):
            for i in range(each):
                file = folder / split / wordnet / f'{wordnet}_{i}.JPEG'
                picture(file, 10 * number + i)
    table = write(folder / 'classes.json', names)
    return dict(type='ImageNet', images=str(folder / 'val'), train_images=str(folder / 'train'), classes=table)


def vl_icl(folder: Path, kind: str, name: str, count: int = 4, pool: int = 5) -> dict:
    """A task of VL-ICL Bench, in its folder; its config."""
    rng = random.Random(name)

    def image(part: str) -> str:
        path = f'{name}/{part}/{rng.getrandbits(32):08x}.png'
        picture(folder / path, rng.getrandbits(16))
        return path

    def record(number: int, part: str, question: str, answer, pictures: int = 1) -> dict:
        shown = [image(part) for _ in range(pictures)]
        return {'id': f'{name}_{part}_{number}', 'image': shown, 'question': question, 'answer': answer}

    if name == 'open_mi':
        queries = []
        for number in range(count):
            classes = rng.sample(['dax', 'blicket', 'perpo', 'slation', 'shously'], 3)
            support = {
                each: {'images': [image('support') for _ in range(3)], 'caption': f'This is a {each}'}
                for each in classes
            }
            queries.append({**record(number, 'query', 'This is a', classes[number % 3]), 'classes': classes})
            queries[-1]['support'] = support
        supports = []
    elif name == 'matching_mi':
        queries = [record(number, 'query', 'Do they match?', ('yes', 'no')[number % 2], 2) for number in range(count)]
        supports = [
            {
                'same': record(number, 'support', 'Do they match?', 'yes', 2),
                'diff': record(number, 'support', 'Do they match?', 'no', 2),
            }
            for number in range(pool)
        ]
    elif name.startswith('operator_induction'):
        pictures, question = (2 if name.endswith('interleaved') else 1), 'What comes of it?'
        queries = []
        for number in range(count):
            one, other, operator = rng.randrange(10), rng.randrange(10), '+-x'[number % 3]
            result = {'+': one + other, '-': one - other, 'x': one * other}[operator]
            queries.append({**record(number, 'query', question, result, pictures), 'operator': operator})
        pairs = [(rng.randrange(10), rng.randrange(10)) for _ in range(pool)]
        supports = [
            record(number, 'support', question, [one + other, one - other, one * other], pictures)
            for number, (one, other) in enumerate(pairs)
        ]
    else:
        said = {'clevr': lambda: ('shape: cube', rng.randrange(9)), 'textocr': lambda: ('Which word?', 'EXIT')}[name]
        queries = [record(number, 'query', *said()) for number in range(count)]
        supports = [record(number, 'support', *said()) for number in range(pool)]
    write(folder / name / 'query.json', queries)
    write(folder / name / 'support.json', supports)
    interleaved = dict(interleaved=True) if name.endswith('interleaved') else {}
    return dict(type=kind, folder=str(folder), **interleaved)


VL_ICL = {
    'open_mi': 'OpenMiniImageNet',
    'matching_mi': 'MatchingMiniImageNet',
    'operator_induction': 'OperatorInduction',
    'operator_induction_interleaved': 'OperatorInduction',
    'clevr': 'CLEVRCount',
    'textocr': 'TextOCR',
}
TASKS = {
    'coco': captions,
    'flickr30k': lambda folder: captions(folder, 'flickr30k'),
    **{name: lambda folder, name=name: vqa(folder, name) for name in ('vqav2', 'ok_vqa', 'textvqa', 'vizwiz')},
    'hateful_memes': hateful_memes,
    'imagenet': imagenet,
    **{
        f'vl_icl_{name}': lambda folder, kind=kind, name=name: vl_icl(folder, kind, name)
        for name, kind in VL_ICL.items()
    },
}


def config(path: Path, task: dict, **changes) -> Path:
    """A config file with an evaluation of ``task``."""
    evaluation = {'type': 'Evaluation', 'task': task, 'shots': [0, 2], 'seeds': [1, 2], 'batch_size': 3, **changes}
    path.write_text(f'evaluation = {evaluation!r}\n')
    return path
