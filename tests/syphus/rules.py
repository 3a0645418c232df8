"""What the rule-answering server says to Syphus: pairs on the notes that it is given, and translations of sorts."""

from __future__ import annotations

import hashlib
import json
import re

OBJECTS = ['ladder', 'basket', 'kettle', 'bench', 'guitar', 'bucket', 'carpet', 'mirror', 'lantern', 'wheel']
PEOPLE = ['Nora', 'Emil', 'Ida', 'Bruno', 'Greta', 'Tariq', 'Yuki', 'Lena', 'Oscar', 'Mara']
PLACES = ['kitchen', 'garden', 'station', 'workshop', 'library', 'harbour', 'meadow', 'cellar', 'attic', 'market']
DOINGS = ['carries', 'cleans', 'paints', 'repairs', 'lifts', 'hides', 'photographs', 'measures', 'turns', 'polishes']


def note(number: int) -> dict:
    """The annotation of an item, no two alike: times and sentences."""
    draw = int(hashlib.sha256(f'note {number}'.encode()).hexdigest(), 16)
    sentences = []
    for _ in range(3):
        parts = []
        for words in (PEOPLE, DOINGS, OBJECTS, PLACES):
            draw, place = divmod(draw, 10)
            parts.append(words[place])
        draw, count = divmod(draw, 90)
        sentences.append('{} {} a {} in the {}'.format(*parts) + f' marked {10 + count}.')
    return {'timestamps': [[0, 9.6], [9.6, 21], [21, 30 + number % 50]], 'sentences': sentences}


def draw_of(body: dict) -> int:
    """A number that depends on what is asked alone."""
    return int(hashlib.sha256(json.dumps(body['messages'], sort_keys=True).encode()).hexdigest()[:8], 16)


def syphus(body: dict) -> str:
    """The reply to a request of Syphus; some are in odd forms, some cannot be read when they come first."""
    system, last = body['messages'][0]['content'], body['messages'][-1]['content']
    if 'language codes' in system:
        return translated(last)
    told = re.findall(r'(\w+) (\w+) a (\w+) in the (\w+) marked (\d+)\.', last)
    pairs = []
    for person, doing, thing, place, count in told:
        pairs.append((f'What does {person} do in the {place}?', f'{person} {doing} a {thing} there.'))
        pairs.append((f'Which number is on the {thing} of {person}?', f'The {thing} is marked {count}.'))
    draw = draw_of(body)
    if draw % 11 == 0:
        pairs.append(('Who else is there?', 'Napoleon watches all of it from a corner of the room.'))
    if draw % 13 == 0:
        pairs.append(('What do they talk about?', "I'm sorry, but I cannot determine that."))
    if draw % 17 == 0:
        pairs.append(pairs[0])
    if draw % 19 == 0 and 'could not be read' not in last:
        return 'There is a lot to see in this video.'
    if draw % 23 == 0:
        return 'I hope this works!'  # never to be read
    if draw % 3 == 0:
        return '\n\n'.join(f'Question: {q}\nAnswer: {a}' for q, a in pairs)
    return json.dumps({'pairs': [{'question': q, 'answer': a} for q, a in pairs]})


WORDS = {
    'zh': '问题是关于这个视频的',
    'ja': 'これはビデオについての質問です',
    'ko': '이것은 비디오에 관한 질문입니다',
    'ar': 'هذا سؤال عن الفيديو',
}
WORDS |= {
    'es': 'esta es una pregunta sobre el video que estamos viendo',
    'de': 'das ist eine Frage zu dem Video, das wir sehen',
    'fr': 'ceci est une question sur la vidéo que nous regardons',
}


def translated(told: str) -> str:
    """A text in each language with the numbers of the original; a few are wrong when they come first."""
    asked = json.loads(told)
    made = {}
    for language in asked['languages']:
        texts = []
        for text in (asked['instruction'], asked['answer']):
            numbers = ' '.join(re.findall(r'\d+', text))
            texts.append(f'{WORDS[language]} {numbers}'.strip())
        made[language] = {'instruction': texts[0], 'answer': texts[1]}
    if len(made) > 1 and hash_of(told) % 10 == 0:
        made[next(iter(made))]['answer'] += ' 77'
    return json.dumps(made, ensure_ascii=False)


def hash_of(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def digits(body: dict) -> str:
    """Pairs on a handwritten digit, from the note 'the digit is a 7'."""
    digit = int(re.search(r'digit is an? (\d)', body['messages'][-1]['content'])[1])
    pairs = [('What digit is this?', str(digit)), ('Is it even?', 'yes' if digit % 2 == 0 else 'no')]
    return json.dumps({'pairs': [{'question': q, 'answer': a} for q, a in pairs]})
