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
    path.write_bytes(picture_bytes(number, format='JPEG' if path.suffix == '.jpg' else 'PNG'))


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


def config(path: Path, task: dict, **changes) -> Path:
    """A config file with an evaluation of ``task``."""
    evaluation = {'type': 'Evaluation', 'task': task, 'shots': [0, 2], 'seeds': [1, 2], 'batch_size': 3, **changes}
    path.write_text(f'evaluation = {evaluation!r}\n')
    return path
