"""Writes ``vqa.json.gz``: answers of all kinds with ten references, and what the published script gives them.

    git clone https://github.com/GT-Vision-Lab/VQA
    python tests/evaluation/metrics/frozen/make_vqa.py VQA/PythonEvaluationTools/vqaEvaluation/vqaEval.py

The script is of Python 2 and is read, not copied. Where all references of a question are the same it normalises
nothing; there its own functions are called first, since the rules are meant to hold always.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
import warnings
from pathlib import Path

TEXT = r"""
dog dogs two 2 ten none zero a the an yes no red cat 10 1,000 3.5 5.0 1990s dont don't cant isnt its thats U.S. p.m. mr.
left/right t-shirt black-white "stop" (old) [x] {y} 5$ #1 @home a_b c+d e=f g>h i<j k`l m,n o?p !q Yes NO The Dont
somebody'd let's she's couldntve couldn'tve yall'd've ow's'at oclock \ ; / - _ . , ? ! .5 5. a.b.c
"""
WORDS = TEXT.split()
SPACES = [' '] * 9 + ['  ', '\t', '\n', '']


def phrase(rng: random.Random) -> str:
    words = rng.choices(WORDS, k=rng.choice([0, 1, 1, 1, 1, 2, 2, 3, 5]))
    text = ''.join(word + rng.choice(SPACES) for word in words)
    return text.strip() if rng.random() < 0.8 else rng.choice([' ', '\n', ',', '.']) + text


def variant(rng: random.Random, text: str) -> str:
    changes = [
        str.upper,
        str.title,
        lambda t: 'the ' + t,
        lambda t: t + '.',
        lambda t: t.replace(' ', '-'),
        lambda t: t + ' ',
    ]
    return rng.choice(changes)(text) if rng.random() < 0.4 else text


def items(count: int = 2500) -> list[dict]:
    rng = random.Random(0)
    made = []
    for number in range(count):
        base = [phrase(rng) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
        references = [variant(rng, rng.choice(base)) for _ in range(10)]
        if rng.random() < 0.1:
            references = [base[0]] * 10
        answer = variant(rng, rng.choice(base)) if rng.random() < 0.8 else phrase(rng)
        if number % 500 == 0:
            answer, references[0] = ' .a' * 40, ' .a' * 40  # more periods than are deleted
        kinds = {
            'question_type': rng.choice(['what', 'how many', 'is the']),
            'answer_type': rng.choice(['other', 'number']),
        }
        made.append({'answer': answer, 'references': references, **kinds})
    return made


class Side:
    def __init__(self, qa: dict) -> None:
        self.qa = qa

    def getQuesIds(self) -> list[int]:
        return list(self.qa)


def main(script: str) -> None:
    warnings.simplefilter('ignore')
    source = Path(script).read_text(encoding='utf-8').expandtabs(4)
    source = re.sub(r'^(\s*)print "[^"]*"$', r'\1pass', source, flags=re.MULTILINE).replace(
        'sys.stdout.write(text)', 'pass'
    )
    space: dict = {}
    exec(source, space)
    made = items()
    given = {n: {'answer': item['answer']} for n, item in enumerate(made)}
    said = {
        n: {**item, 'answers': [{'answer': text, 'answer_id': i} for i, text in enumerate(item['references'], 1)]}
        for n, item in enumerate(made)
    }
    official = space['VQAEval'](Side(said), Side(given), n=2)
    for n, item in enumerate(made):
        cleaned = {text.replace('\n', ' ').replace('\t', ' ').strip() for text in item['references']}
        if len(cleaned) == 1:
            for record in (given[n], *said[n]['answers']):
                text = record['answer'].replace('\n', ' ').replace('\t', ' ').strip()
                record['answer'] = official.processDigitArticle(official.processPunctuation(text))
    official.evaluate()
    frozen = {'items': made, 'each': [official.evalQA[n] for n in range(len(made))], 'accuracy': official.accuracy}
    path = Path(__file__).with_name('vqa.json.gz')
    path.write_bytes(gzip.compress(json.dumps(frozen).encode(), mtime=0))
    print(path, path.stat().st_size, official.accuracy)


if __name__ == '__main__':
    main(sys.argv[1])
