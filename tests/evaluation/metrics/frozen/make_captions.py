"""Writes ``captions.json.gz``: captions of all kinds, and what pycocoevalcap with its Java tokenizer makes of them.

pip install pycocoevalcap pycocotools    # needs Java
python tests/evaluation/metrics/frozen/make_captions.py
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

SUBJECTS = [
    'a man',
    'two dogs',
    "a woman's cat",
    'the T-shirt',
    'an 18-wheeler',
    'A small, red bus',
    "boys'",
    "it's",
    '3 kids',
]
VERBS = [
    'is riding',
    "isn't riding",
    'sits on',
    "can't see",
    'holding',
    'cannot find',
    "won't eat",
    'walks',
    "they're at",
]
OBJECTS = [
    'a bike',
    'the street',
    'a $5 bill',
    '1,000 birds',
    'a café',
    'the U.S. flag',
    'mid-air',
    "McDonald's",
    'a 1/2 pizza',
]
OBJECTS += [
    'bread & butter',
    'a "stop" sign',
    "a 'no parking' sign",
    'a black-and-white photo',
    'a sign (old)',
    '#10',
    '50% off',
]
PLACES = [
    'at 2:30 p.m.',
    "at 5 o'clock",
    'in New York',
    'on St. James street',
    'in the 1980s',
    'with Mr. Smith',
    'w/ friends',
    '',
]
PLACES += [
    'near a b&w wall',
    'and/or a tree',
    'in front of http://x.com',
    '[left]',
    '* * *',
    'by the sea; it is hot',
    "in '90s style",
]
ENDS = ['', '', '', '.', '.', ' .', '!', '?', '...', '!!', ' ,', ';', '"', "'", ' -', '--', ' …', ':)']
ODD = [
    '',
    ' ',
    '.',
    '...',
    '"',
    "''",
    '?!',
    '-',
    '\u2014',
    ', , ,',
    '(',
    '\u201ca dog\u201d',
    'dog\u2019s bowl',
    "'",
    '@',
    '&',
    '1.',
    'a\nb',
]


def caption(rng: random.Random) -> str:
    if rng.random() < 0.08:
        return rng.choice(ODD)
    words = ' '.join(rng.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, PLACES))
    if rng.random() < 0.1:
        words = words.upper()
    if rng.random() < 0.1:
        words = words.replace(' ', rng.choice(['  ', ', ', ' - ', ' "']), 1)
    return words + rng.choice(ENDS)


def main() -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    rng = random.Random(0)
    answers = [caption(rng) for _ in range(700)]
    references = []
    for answer in answers:
        near = answer.replace('a ', 'the ', 1) + rng.choice(['', ' today'])
        references.append(
            [near if rng.random() < 0.5 else caption(rng), *(caption(rng) for _ in range(rng.randint(1, 2)))]
        )
    tokens = PTBTokenizer().tokenize({i: [{'caption': text}] for i, text in enumerate(answers)})
    said = PTBTokenizer().tokenize({i: [{'caption': text} for text in few] for i, few in enumerate(references)})
    figures = {}
    for name, scorer in {'BLEU': Bleu(4), 'CIDEr': Cider(), 'ROUGE-L': Rouge()}.items():
        total, each = scorer.compute_score(said, tokens)
        figures[name] = (
            {'total': [float(x) for x in total]}
            if name == 'BLEU'
            else {
                'total': float(total),
                'each': [float(x) for x in each],
            }
        )
    frozen = {
        'answers': answers,
        'references': references,
        'tokens': {
            'answers': [tokens[i][0] for i in range(len(answers))],
            'references': [said[i] for i in range(len(answers))],
        },
        'figures': figures,
    }
    path = Path(__file__).with_name('captions.json.gz')
    path.write_bytes(gzip.compress(json.dumps(frozen).encode(), mtime=0))
    print(path, path.stat().st_size)


if __name__ == '__main__':
    main()
