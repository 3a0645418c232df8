import json
import pickle
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from mmgpt.data.sources import Nlvr2
from mmgpt.data.sources.requests import DOES_IT_FOLLOW, IS_IT_TRUE
from mmgpt.data.sources.table import source_from_files

NLVR = {'sentence': 'There is a blue box.', 'label': 'true', 'identifier': '12-3', 'directory': '7'}
NLVR2 = {'images': ['a.png', 'b.png'], 'sentence': 'Left: one dog on the right.', 'label': 'False'}
SNLI = {'Flickr30K_ID': 36979, 'pairID': '36979.jpg#4r1n', 'sentence1': 's', 'sentence2': 'Two people sit.'}
SNLI |= {'gold_label': 'neutral'}


def source(folder, name, records, file):
    text = '\n'.join(map(json.dumps, records)) if name != 'nlvrv2' else json.dumps(records)
    (folder / file).write_text(text)
    (folder / 'images').mkdir(exist_ok=True)
    return source_from_files(name, folder / file, folder / 'images')


def drawn(one, times=600):
    return [one.draw(0, np.random.default_rng(number)) for number in range(times)]


@pytest.mark.parametrize(('file', 'split'), [('train.json', 'train'), ('nlvr_dev.jsonl', 'dev')])
def test_nlvr_shows_one_of_six_orders(tmp_path, file, split):
    samples = drawn(source(tmp_path, 'nlvrv1', [NLVR, NLVR], file))
    assert {s.turns[0].text for s in samples} == {f'There is a blue box. {request}' for request in IS_IT_TRUE}
    assert len(IS_IT_TRUE) == 19
    assert {s.turns[0].input for s in samples} == {'', 'true, false'}
    assert {s.turns[1].text for s in samples} == {'true'}
    frames = {s.turns[0].media[0].frames for s in samples}
    assert frames == {(f'{split}/images/7/{split}-12-3-{order}.png',) for order in range(6)}
    assert samples[0].id == '12-3'


def test_nlvr2_stands_side_by_side_and_swaps_sides(tmp_path):
    one = source(tmp_path, 'nlvrv2', [NLVR2, {**NLVR2, 'label': True}], 'nlvr2.json')
    seen = Counter((s.turns[0].text.split('.')[0], s.turns[0].media[0].frames) for s in drawn(one))
    kept, swapped = (
        ('Left: one dog on the right', (('a.png', 'b.png'),)),
        (
            'Right: one dog on the left',
            (('b.png', 'a.png'),),
        ),
    )
    assert set(seen) == {kept, swapped}
    assert 100 < seen[swapped] < 200  # a quarter of 600
    assert {s.turns[1].text for s in drawn(one)} == {'False'}
    assert {s.turns[0].input for s in drawn(one)} == {'', 'True, False'}
    assert one[1].turns[1].text == 'true'
    Image.new('RGB', (10, 20), 'red').save(tmp_path / 'images/a.png')
    Image.new('RGB', (40, 40), 'blue').save(tmp_path / 'images/b.png')
    images = pickle.loads(pickle.dumps(one)).images
    both = images.open(('a.png', 'b.png'))
    assert both.size == (10 + 20, 20)
    assert [both.getpixel((x, 10)) for x in (5, 15, 29)] == [(255, 0, 0), (0, 0, 255), (0, 0, 255)]
    assert ('a.png', 'b.png') in images
    assert ('a.png', 'c.png') not in images
    assert images.open('a.png').size == (10, 20)
    assert len(images.read('a.png')) > 0
    assert len(images) == 2
    with pytest.raises(KeyError, match=r"no image 'c.png'"):
        images.open(('a.png', 'c.png'))


def test_snli_ve(tmp_path):
    samples = drawn(source(tmp_path, 'snlive', [SNLI], 'snli_ve_train.jsonl'))
    assert {s.turns[0].text for s in samples} == {f'Two people sit. {request}' for request in DOES_IT_FOLLOW}
    assert len(DOES_IT_FOLLOW) == 22
    assert {s.turns[0].input for s in samples} == {'', 'entailment, neutral, contradiction'}
    assert {(s.turns[1].text, s.turns[0].media[0].frames) for s in samples} == {('neutral', ('36979.jpg',))}


@pytest.mark.parametrize(
    ('name', 'record', 'file', 'message'),
    [
        ('nlvrv1', {**NLVR, 'label': 'yes'}, 'train.json', '"label" should be true or false, got \'yes\''),
        ('nlvrv1', NLVR, 'all.jsonl', 'the name of the file should say train, dev or test'),
        ('nlvrv2', {**NLVR2, 'images': ['a']}, 'x.json', '"images" should be a list of two strings'),
        ('nlvrv2', {**NLVR2, 'label': None}, 'x.json', '"label" should be true or false, got None'),
        ('snlive', {**SNLI, 'gold_label': '-'}, 'x.jsonl', '"gold_label" should be entailment or neutral or contra'),
        ('snlive', {**SNLI, 'sentence2': 7}, 'x.jsonl', '"sentence2" should be a string, got 7'),
    ],
)
def test_a_record_of_another_form_is_a_fault(tmp_path, name, record, file, message):
    with pytest.raises(ValueError, match=message):
        source(tmp_path, name, [record], file)[0]


def test_swap_is_a_fraction(tmp_path):
    (tmp_path / 'x.json').write_text('[]')
    with pytest.raises(ValueError, match='swap must be a fraction'):
        Nlvr2(tmp_path / 'x.json', swap=3)
