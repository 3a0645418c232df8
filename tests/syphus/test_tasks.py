"""Tasks: what is said about an annotation, in published forms and plain text; prompts; a task by a config alone."""

import json

import pytest

from mmgpt.registry import SYPHUS_TASKS
from mmgpt.syphus.items import Item
from mmgpt.syphus.prompt import read_prompt, write_pairs
from mmgpt.syphus.replies import parse_reply
from mmgpt.syphus.settings import read_settings
from tests.inference.rule_server import ROOT

TEXT = 'A man dives.\nHe swims away.'
CASES = [
    (
        'DenseCaptions',
        {'timestamps': [[0, 9.4], [9.6, 20]], 'sentences': ['A man dives.', 'He swims.']},
        '0-9 s: A man',
    ),
    ('TVCaptions', {'vid_name': 'x', 'descs': [{'desc': 'Nora sits.'}, {'desc': 'Ben stands.'}]}, '2. Ben stands.'),
    (
        'EgocentricVideo',
        [{'time': 2.2, 'text': '#C C cuts it', 'objects': ['knife']}],
        '2 s: the camera wearer cuts it',
    ),
    (
        'VisualStorytelling',
        {'title': 'lake', 'images': [{'text': 'We swim.', 'tags': ['sea']}]},
        'picture 1: We swim. (tags: sea)',
    ),
    ('IndoorScenes', {'description': [['desk', 'a desk by the door']]}, 'a desk by the door'),
    ('SpotTheDifference', {'img_id': 1, 'sentences': ['the van is gone']}, 'the van is gone'),
    (
        'SceneDifference',
        {
            'a': {'captions': ['A dog.'], 'objects': [{'name': 'dog', 'box': [1, 2, 3, 4]}]},
            'b': {'captions': ['A cat.']},
        },
        'picture a:\nA dog.\ndog: [1, 2, 3, 4]\n\npicture b:\nA cat.',
    ),
    (
        'CaptionsAndBoxes',
        {'captions': ['A bike.'], 'objects': [{'name': 'bike', 'box': [1, 2, 3, 4]}]},
        'bike: [1, 2, 3, 4]',
    ),
    ('QuestionSet', {'text': 'me', 'picture': 'a cat'}, 'text: me\npicture: a cat'),
]


@pytest.mark.parametrize(('name', 'annotation', 'part'), CASES, ids=[case[0] for case in CASES])
def test_annotations_in_their_published_form_and_as_text(name, annotation, part):
    task = SYPHUS_TASKS.build(dict(type=name))
    assert part in task.query(Item('i', (), annotation), task.parts[0])
    assert 'A man dives.' in task.query(Item('i', (), TEXT), task.parts[0])
    for which in task.parts:
        prompt = task.filled(task.prompt(which))
        assert prompt.examples
        assert '{pairs}' not in prompt.system


@pytest.mark.parametrize('name', [name for name, annotation, _ in CASES if name not in ('QuestionSet',)])
def test_an_annotation_of_another_form_is_told(name):
    task = SYPHUS_TASKS.build(dict(type=name))
    with pytest.raises(ValueError, match=f'item 7: {name} expected'):
        task.query(Item('item 7', (), {'x': 3}), task.parts[0])


def test_a_room_is_told_the_same_way_each_time_and_others_differently():
    task = SYPHUS_TASKS.build(dict(type='IndoorScenes', lines=3))
    told = [task.query(Item(id, (), [f'thing {n}' for n in range(30)])) for id in ('a', 'a', 'b')]
    assert told[0] == told[1] != told[2]
    assert told[0].count('thing') == 3


def test_kinds_make_files_of_their_own():
    task = SYPHUS_TASKS.build(dict(type='CaptionsAndBoxes', kinds=('conversation', 'detail')))
    assert [task.file_name(part) for part in task.parts] == ['LACONV', 'LADD']
    assert [task.relation(part) for part in task.parts] == ['earlier', 'none']
    with pytest.raises(ValueError, match='kinds'):
        SYPHUS_TASKS.build(dict(type='CaptionsAndBoxes', kinds=('poem',)))


def test_own_annotations_need_a_prompt_file_and_a_config_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    settings = read_settings('configs/syphus/own_annotations.py')
    item = Item('b1', ('BIRD_IMG_b1',), {'species': 'robin', 'place': 'a garden', 'note': 'It sings.'})
    assert settings.task.query(item) == 'species: robin\nplace: a garden\nobserver: It sings.'
    assert 'Write 3 questions' in settings.task.filled(settings.task.prompt('')).system


def test_a_template_is_filled_in_one_go_and_names_what_an_annotation_lacks(tmp_path):
    (tmp_path / 'p.txt').write_text('Ask.')
    own = dict(type='Annotations', name='B', prompt=str(tmp_path / 'p.txt'), pairs=2)
    with pytest.raises(ValueError, match='template must be a text'):
        SYPHUS_TASKS.build(dict(own, template=5))
    task = SYPHUS_TASKS.build(dict(own, template='{pairs} on {common name} {id}: {a}, {b}; as {"q": "…"}'))
    item = Item('i', (), {'a': 'see {b}', 'b': 5, 'common name': 'robin'})
    assert task.query(item) == '2 on robin i: see {b}, 5; as {"q": "…"}'
    with pytest.raises(ValueError, match="item 7: Annotations expected a member 'b', which the template names"):
        task.checked(Item('item 7', (), {'a': 'x', 'common name': 'robin'}))


@pytest.mark.parametrize('path', sorted((ROOT / 'configs/syphus').glob('*.py')), ids=lambda path: path.stem)
def test_shipped_configs_have_no_fault(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert read_settings(path).filters


@pytest.mark.parametrize(
    ('content', 'part'),
    [
        ('{"system_message": 3}', 'expected {"system_message": text'),
        ('{"system_message": "x", "in_context": [{"role": "user", "content": "q"}]}', 'take turns'),
        ('{"system_message": "x", "in_context": [{"role": "tool", "content": "q"}, {}]}', 'expected {"role": \'user\''),
        (
            '{"system_message": "x", "in_context": [{"role": "user", "content": "q"}, '
            '{"role": "assistant", "content": "hm"}]}',
            'cannot be read',
        ),
        ('{', 'is no JSON'),
        ('{"system_message": " "}', 'the prompt says nothing'),
    ],
)
def test_a_wrong_prompt_file_is_told_with_its_place(tmp_path, content, part):
    path = tmp_path / 'prompt.json'
    path.write_text(content)
    with pytest.raises(ValueError, match=r'prompt\.json') as error:
        read_prompt(path)
    assert part in str(error.value)


def test_a_prompt_of_another_encoding_is_told_with_its_file(tmp_path):
    (tmp_path / 'prompt.txt').write_bytes('Fragen über Bilder'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'prompt\.txt: is no text in UTF-8'):
        read_prompt(tmp_path / 'prompt.txt')


def test_prompts_as_published(tmp_path):
    published = {
        'system_message': 'You write questions.',
        'in_context': [
            {'role': 'user', 'content': 'timestamps: [[0, 9]]'},
            {'role': 'assistant', 'content': [{'Question': 'What does he do?', 'Answer': 'He dives.'}]},
        ],
    }
    (tmp_path / 'a.json').write_text(json.dumps(published))
    (tmp_path / 'a.py').write_text('\n'.join(f'{name} = {value!r}' for name, value in published.items()))
    (tmp_path / 'a.txt').write_text('You write questions.')
    prompt = read_prompt(tmp_path / 'a.json')
    assert prompt == read_prompt(tmp_path / 'a.py')
    assert read_prompt(tmp_path / 'a.txt') == prompt._replace(examples=())
    for form in ('json', 'text'):
        messages = prompt.messages('q', form)
        assert [message['role'] for message in messages] == ['system', 'user', 'assistant', 'user']
        assert parse_reply(messages[2]['content']).pairs == prompt.examples[0].pairs
    assert write_pairs(prompt.examples[0].pairs, 'text') == 'Question: What does he do?\nAnswer: He dives.'
    assert prompt.digest() != prompt._replace(system='Other.').digest()


@pytest.mark.parametrize(
    ('name', 'annotation'),
    [
        ('VisualStorytelling', {'title': 't', 'images': ['a', 'b']}),
        ('VisualStorytelling', {'title': 't', 'images': [{'tags': [1], 'text': 'x'}]}),
        ('EgocentricVideo', [{'time': '00:03', 'text': 'x'}]),
        ('CaptionsAndBoxes', {'captions': ['a'], 'objects': [{'name': 'x', 'box': 5}]}),
        ('QuestionSet', '   '),
    ],
)
def test_members_of_another_form_are_told_with_their_item(name, annotation):
    with pytest.raises(ValueError, match=f'item 7: {name} expected') as error:
        SYPHUS_TASKS.build(dict(type=name)).checked(Item('item 7', (), annotation))
    assert ',,' not in str(error.value)


def test_a_name_that_no_file_can_have_is_told_at_once():
    with pytest.raises(ValueError, match='birds/v1'):
        SYPHUS_TASKS.build(dict(type='DenseCaptions', name='birds/v1'))
