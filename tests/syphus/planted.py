"""Pairs on made-up annotations, clean ones and bad ones of each kind; two halves of the words share nothing."""

from __future__ import annotations

import random

from mmgpt.syphus.filters import Candidate
from mmgpt.syphus.filters.duplicates import normalized, shingles

HALVES = [
    dict(
        people=['Nora', 'Emil', 'Ida', 'Bruno', 'Greta', 'Tariq', 'Yuki', 'Lena'],
        strangers=['Napoleon', 'Miranda', 'Dimitri', 'Beatrice', 'Rodrigo', 'Paris', 'Microsoft', 'Einstein'],
        things=['ladder', 'basket', 'kettle', 'bench', 'guitar', 'bucket', 'carpet', 'mirror', 'lantern', 'wheel'],
        places=['kitchen', 'garden', 'station', 'workshop', 'library', 'harbour', 'meadow', 'cellar'],
        doings=['carries', 'cleans', 'paints', 'repairs', 'lifts', 'hides', 'photographs', 'measures'],
        looks=['a red coat', 'a straw hat', 'dark gloves', 'a striped shirt', 'muddy boots', 'a blue apron'],
        refusals=[
            "I'm sorry, but I cannot determine what happens next.",
            'As an AI language model, I am not able to see the video.',
            'I cannot answer this question without more details.',
            'Unfortunately, there is not enough information provided to answer.',
            "I don't have access to the picture you mention.",
            'Sorry, I am unable to help with this request.',
        ],
        leaks=[
            'According to the captions, {p} stands in the {s}.',
            'The {t} is at [12, 40, 88, 120] in the {s}.',
            'Assistant: {p} stands next to the {t}.',
            '<image> {p} stands near the {t}.',
            'From 00:12 to 00:19 {p} holds the {t}.',
            'The provided description mentions a {t} in the {s}.',
            '[male] walks through the {s} with the {t}.',
            '{"question": "What is it?", "answer": "a {t}"}',
        ],
        foreign=[
            ('¿Qué hace la persona en la imagen?', 'La persona está limpiando la mesa de la cocina con un trapo.'),
            ('Was macht die Person auf dem Bild?', 'Die Person trägt einen schweren Korb durch den großen Garten.'),
            ('What is seen here?', '在图片中有一个人正在打扫房间。'),
            ('What does the person do?', 'La persona porta un cesto, luego lo deja en el suelo de la habitación.'),
        ],
        unsafe=['He tells her to kill yourself in front of all.', 'They sell cocaine near the {t}.', 'A naked man stands by the {t}.', 'He explains how to make a bomb with the {t}.'],
        empties=['', '...', 'N/A', 'Insert answer here', '???'],
    ),
    dict(
        people=['Oscar', 'Mara', 'Henrik', 'Salma', 'Pavel', 'Chloe', 'Diego', 'Astrid'],
        strangers=['Cleopatra', 'Sherlock', 'Anastasia', 'Winston', 'Berlin', 'Toyota', 'Mozart', 'Valentina'],
        things=['suitcase', 'candle', 'hammer', 'blanket', 'canoe', 'drum', 'trolley', 'vase', 'rope', 'helmet'],
        places=['attic', 'market', 'stadium', 'bakery', 'forest', 'garage', 'classroom', 'courtyard'],
        doings=['pushes', 'wraps', 'polishes', 'drops', 'unpacks', 'inspects', 'washes', 'drags'],
        looks=['a green scarf', 'round glasses', 'a leather jacket', 'white sneakers', 'a woollen cap', 'a grey suit'],
        refusals=[
            "I apologize, but I can't provide an answer to that.",
            'As a language model I have no eyes, so I cannot tell.',
            "I can't see the image, so it is impossible for me to say.",
            'It cannot be determined from the scene.',
            "I'm afraid I can't assist with that.",
            'There is insufficient information to say.',
        ],
        leaks=[
            'Based on the annotation, {p} is in the {s}.',
            'The bounding box of the {t} is near the door.',
            'GPT: {p} is beside the {t}.',
            '{p} is beside the {t}.<|endofchunk|>',
            'Between 3-11 seconds {p} moves the {t}.',
            'As mentioned in the caption, a {t} is in the {s}.',
            '#C walks through the {s} with the {t}.',
            'The {t} (0.31, 0.52, 0.77) is in front.',
        ],
        foreign=[
            ('Que fait la personne sur cette image ?', 'La personne range des livres sur une grande étagère en bois.'),
            ('¿Dónde está el perro ahora mismo?', 'El perro duerme debajo de la mesa, cerca de la puerta abierta.'),
            ('What is happening?', '사람이 방에서 상자를 옮기고 있습니다.'),
            ('What does she hold?', 'Sie hält eine kleine Lampe in der Hand und schaut aus dem Fenster.'),
        ],
        unsafe=['She says he is a subhuman near the {t}.', 'He watches porn by the {t}.', 'They inject heroin behind the {t}.', 'He wants to slit his wrists with the {t}.'],
        empties=[' ', '-', 'null', 'TODO', '—'],
    ),
]  # fmt: skip

CLEAN = [
    ('What does {p} do in the {s}?', '{p} {d} a {t} there.'),
    ('What is {p} wearing while working in the {s}?', '{p} wears {l}.'),
    ('Is there anything written on the {t}?', 'It bears the number {n}.'),
    ('Why might {p} have come to the {s}?', 'Most likely because the {t} needed attention: {p} {d} it right away.'),
    ('Who is in the {s}?', '{p} is.'),
    ('Which number stands on the {t}?', '{n}'),
    ('Is anybody in the {s}?', 'Yes, one person is there: {p}.'),
    ('Describe the scene in the {s} in detail.', 'The scene shows {p} in {l}. In the middle of the {s} there is a {t} with the number {n} on it, and {p} {d} it with great care.'),
    ('What could {p} do next with the {t}?', 'Having dealt with the {t}, {p} could put it away, or ask someone to help carry it out of the {s}.'),
    ('What colour or kind are the clothes of {p}?', 'They include {l}.'),
    ('Does {p} seem to be in a hurry?', 'No, {p} works calmly and looks only at the {t}.'),
    ('What stands out about the {t}?', 'The number {n} is written on it.'),
    ('How can one tell that the {s} is in use?', 'Somebody in {l} is at work there, and the {t} is being handled.'),
    ('Where is the {t}?', 'In the {s}, right where {p} stands.'),
]  # fmt: skip


class Fill(dict):
    """Puts words into a text whose braces are its own."""

    def __call__(self, text: str) -> str:
        for name, word in self.items():
            text = text.replace(f'{{{name}}}', str(word))
        return text


def clean_and_planted(seed: int, half: int, items: int = 400) -> tuple[list[tuple[Candidate, str]], int]:
    """Candidates with the filter that should drop each, '' for clean ones; and how many are clean."""
    draw, words = random.Random(seed), HALVES[half]
    found: list[tuple[Candidate, str]] = []

    def add(item: str, facts: str, q: str, a: str, kind: str = '') -> None:
        found.append((Candidate(len(found), item, q, a, facts), kind))

    kept: list[Candidate] = []
    seen: list[set[int]] = []
    for number in range(items):
        item = f'i{number}'
        told = dict(
            p=draw.choice(words['people']), s=draw.choice(words['places']), t=draw.choice(words['things']),
            d=draw.choice(words['doings']), l=draw.choice(words['looks']), n=draw.randint(10, 999),
        )  # fmt: skip
        facts = '{p} in {l} {d} a {t} in the {s}. The {t} bears the number {n}.'.format(**told)
        for q, a in draw.sample(CLEAN, 2):
            runs = shingles(normalized(f'{q} {a}'.format(**told)))
            if any(len(runs & other) / len(runs | other) > 0.6 for other in seen):
                continue  # no two clean ones are alike
            seen.append(runs)
            add(item, facts, q.format(**told), a.format(**told))
            kept.append(found[-1][0])
        q, a = (text.format(**told) for text in draw.choice(CLEAN))
        kind = number % 9
        fill = Fill(told)
        if kind == 0:
            add(item, facts, q, draw.choice(words['empties']), 'Empty')
        elif kind == 1:
            long = 'It goes on and on, and ' * 90
            add(item, facts, *((q, long) if draw.random() < 0.5 else ('What?', a)), 'Length')
        elif kind == 2:
            add(item, facts, q, draw.choice(words['refusals']), 'Refusals')
        elif kind == 3:
            add(item, facts, f'Number {number}: what is seen?', fill(draw.choice(words['leaks'])), 'Leakage')
        elif kind == 4:
            add(item, facts, *draw.choice(words['foreign']), 'OtherLanguage')
        elif kind == 5:
            name = draw.choice(words['strangers'])
            bad = draw.choice(
                [f'{name} {told["d"]} the {told["t"]}.', f'It is a present from {name}.', f'There are {told["n"] + 17} of them in the {told["s"]}.',
                 f'The {told["t"]} is {draw.randint(4000, 9000)} years old.', f"{name}'s {told['t']} is in the {told['s']}."]
            )  # fmt: skip
            add(
                item,
                facts,
                'What else can be said about it?',
                bad,
                'Ungrounded',
            )
        elif kind == 6:
            add(item, facts, 'What happens here, then?', fill(draw.choice(words['unsafe'])), 'Unsafe')
        elif kind == 7:
            other = found[-1 - draw.randrange(2)][0]
            q, a = other.instruction, other.answer
            add(item, facts, q.upper() if draw.random() < 0.5 else q, a + draw.choice(['', ' ', '!']), 'Duplicates')
        else:
            long = [c for c in kept[-40:] if len(c.answer.split()) + len(c.instruction.split()) > 20]
            if not long:
                continue
            other = draw.choice(long)
            a = other.answer.replace('. ', '. Indeed, ', 1) if draw.random() < 0.5 else other.answer + ' That is all.'
            add(other.item, other.facts, other.instruction, a, 'NearDuplicates')
    return found, len(kept)
