"""Translations: what is read, which checks they must pass, and that only what failed is asked for again."""

import asyncio
import json

import pytest

from mmgpt.inference.endpoint import RequestFailed
from mmgpt.inference.endpoint_cache import Reply
from mmgpt.syphus.translation import Translator, chrf, fault_of, read_translations

CHECKS = [
    ('Take 2 of {name}.', 'Nimm 2 von {name}.', 'de', None),
    ('Take 2 of {name}.', 'Nimm zwei von {name}.', 'de', 'numbers'),
    ('Take 2 of {name}.', 'Nimm 2 von {Name}.', 'de', 'placeholders'),
    ('See <image> and <image>.', '请看 <image>。', 'zh', 'placeholders'),
    ('It costs 1,500 euros.', 'Es kostet 1.500 Euro.', 'de', None),
    ('It is 3.5 metres long.', 'Es ist 3,5 Meter lang.', 'de', None),
    ('There are 25 dogs.', 'هناك ٢٥ كلبا.', 'ar', None),
    ('There are 25 dogs.', '犬が２５匹います。', 'ja', None),
    ('A dog sleeps here.', '', 'fr', 'empty'),
    ('A dog sleeps here.', 'A dog sleeps here.', 'ko', 'untranslated'),
    ('A dog sleeps in the garden of the house.', 'A dog is asleep in the garden of a house.', 'es', 'language'),
    ('A dog sleeps in the garden.', '犬が庭で寝ています。', 'zh', 'language'),
    ('Is this a dog or a cat that we see here?', 'Oui.', 'fr', 'length'),
    ('Berlin', 'Berlin', 'ja', None),
    ('7', '7', 'ar', None),
    ('no', 'no', 'es', None),
    ('It holds 10,000 people.', 'Il contient 10\u202f000 personnes.', 'fr', None),
    ('It holds 10,000 people.', 'Il contient 10 000 personnes.', 'fr', None),
    ('There are 5 races of 100 metres.', 'Hay 5 100 carreras.', 'es', None),
    ('It holds 10,000 people.', 'Il contient 20 000 personnes.', 'fr', 'numbers'),
]


@pytest.mark.parametrize(('source', 'text', 'language', 'fault'), CHECKS)
def test_checks(source, text, language, fault):
    found = fault_of(source, text, language)
    assert (found and found[0]) == fault


def test_published_and_own_forms_are_read():
    own = '```json\n{"de": {"instruction": "Was?", "answer": "Das."}, "fr": {"instruction": "Quoi ?"}}\n```'
    assert read_translations(own, ['de', 'fr']) == {'de': ('Was?', 'Das.')}
    published = '{"a": {"de": "Was?", "ko": "뭐?"}, "b": {"de": "Das.", "ko": "이것."}}'
    assert read_translations(published, ['ko']) == {'ko': ('뭐?', '이것.')}


class Scripted:
    """Stands for the endpoint's one method."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    async def ask(self, messages, schema=None, attempt=0, **sampling):
        self.asked.append(messages[-1]['content'])
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return Reply(reply)


def test_only_what_failed_is_asked_for_again_and_at_last_dropped():
    first = {'de': {'instruction': 'Wie viele?', 'answer': '3'}, 'fr': {'instruction': 'Combien ?', 'answer': 'trois'}}
    second = {'fr': {'instruction': 'Combien ?', 'answer': 'deux'}}
    endpoint = Scripted(json.dumps(first), json.dumps(second))
    found = asyncio.run(Translator(['de', 'fr'], max_asks=2).translate('How many?', '3', ['de', 'fr'], endpoint))
    assert (found['de'].verdict, found['fr'].verdict, found['fr'].detail) == ('kept', 'numbers', 'missing: 3')
    assert json.loads(endpoint.asked[1])['languages'] == ['fr']


def test_a_request_that_is_given_up_leaves_the_languages_that_passed():
    first = {'de': {'instruction': 'Wie viele?', 'answer': '3'}, 'fr': {'instruction': 'Combien ?', 'answer': 'trois'}}
    endpoint = Scripted(json.dumps(first), RequestFailed('status 400: content filter'))
    found = asyncio.run(Translator(['de', 'fr'], max_asks=2).translate('How many?', '3', ['de', 'fr'], endpoint))
    assert (found['de'].verdict, found['fr'].verdict) == ('kept', 'failed')
    assert 'content filter' in found['fr'].detail


@pytest.mark.parametrize(('back', 'verdict'), [('A dog sleeps.', 'kept'), ('Cars burn fuel.', 'back-translation')])
def test_back_translation(back, verdict):
    made = json.dumps({'de': {'instruction': 'Was tut der Hund?', 'answer': 'Ein Hund schläft.'}})
    endpoint = Scripted(made, 'What does the dog do?' if verdict == 'kept' else 'Why is it so?', back)
    translator = Translator(['de'], max_asks=1, back_translation=0.5)
    found = asyncio.run(translator.translate('What does the dog do?', 'A dog sleeps.', ['de'], endpoint))
    assert found['de'].verdict == verdict


def test_chrf():
    assert chrf('A dog.', 'A dog.') == 1
    assert chrf('A dog sleeps.', 'Cars burn.') < 0.2 < chrf('A dog sleeps.', 'The dog slept.') < 0.9
