import json

import pytest

from mmgpt.data.converters.train_json import HEURISTICS, train_contexts
from mmgpt.data.image_stores import JsonImages
from mmgpt.data.incontext import RelatedInstructions
from mmgpt.data.sources import MimicIt
from mmgpt.registry import RETRIEVERS
from tools.dataset_converters import build_train_json


@pytest.fixture
def folder(tmp_path):
    rounds = [(f'LACONV_00_INS_{picture}_{r}', picture) for picture in ('p', 'q') for r in range(4)]
    rounds.append(('LACONV_00_INS_s_0', 's'))
    data = {
        id: {'instruction': f'Question {i}?', 'answer': 'Yes.', 'image_ids': [picture], 'rel_ins_ids': ['gone', id]}
        for i, (id, picture) in enumerate(rounds)
    }
    (tmp_path / 'LA_instructions.json').write_text(json.dumps({'data': data}))
    (tmp_path / 'LA.json').write_text('{}')
    return tmp_path


@pytest.fixture
def source(folder):
    return MimicIt(folder / 'LA_instructions.json', JsonImages(folder / 'LA.json'))


def of(picture, *rounds):
    return [f'LACONV_00_INS_{picture}_{r}' for r in rounds]


def retriever(subset):
    return RETRIEVERS.build(dict(HEURISTICS[subset].retriever))


def test_every_round_has_those_before_it(source):
    found = train_contexts(source, retriever('LACONV'))
    assert found == {id: of(p, *range(r)) for p in 'pq' for r, id in enumerate(of(p, *range(4)))} | {of('s', 0)[0]: []}


def test_the_published_rules_of_conversations(source):
    found = train_contexts(source, retriever('LACONV'), **HEURISTICS['LACONV'].published)
    assert found == {of('p', 3)[0]: of('p', 1, 2), of('q', 3)[0]: of('q', 1, 2)}  # one round alone has no context


def test_fewer_are_repeated_and_none_left_out(source):
    found = train_contexts(source, retriever('LACONV'), exactly=3)
    assert found[of('p', 1)[0]] == of('p', 0, 0, 0)
    assert found[of('p', 2)[0]] == of('p', 0, 1, 0)
    assert of('p', 0)[0] not in found


def test_a_share_is_drawn_and_repeats(source):
    found = train_contexts(source, None, share=0.5)
    assert 0 < len(found) < 9
    assert found == train_contexts(source, None, share=0.5)


def test_contexts_that_are_not_there_and_what_served_already(source):
    assert set(map(tuple, train_contexts(source, RelatedInstructions()).values())) == {()}
    found = train_contexts(source, retriever('SD'), unused=True)
    assert list(found) == [of('p', 0)[0], of('q', 0)[0], of('s', 0)[0]]


def test_the_tool(folder, capsys):
    arguments = [str(folder / 'LA_instructions.json'), '--images', str(folder / 'LA.json'), '--out']
    assert build_train_json.main([*arguments, str(folder / 'a.json'), '--subset', 'LACONV', '--published']) == 0
    assert '2 of 9 instructions, 4 contexts' in capsys.readouterr().out
    train = MimicIt(folder / 'LA_instructions.json', train=folder / 'a.json')
    assert [(train[i].id, list(train[i].context_ids)) for i in range(2)] == [
        (of('p', 3)[0], of('p', 1, 2)),
        (of('q', 3)[0], of('q', 1, 2)),
    ]
    assert build_train_json.main([*arguments, str(folder / 'b.json'), '--subset', 'SN', '--no-context']) == 0
    assert set(map(tuple, json.loads((folder / 'b.json').read_text()).values())) == {()}
    assert build_train_json.main([*arguments, str(folder / 'c.json'), '--subset', 'LACR_T2T']) == 0
    assert len(json.loads((folder / 'c.json').read_text())[of('s', 0)[0]]) == 8
    (folder / 'out').mkdir()
    assert build_train_json.main([*arguments, str(folder / 'out'), '--subset', 'LADD']) == 2
    assert 'directory' in capsys.readouterr().err
    assert not list(folder.glob('.*.part'))
    assert build_train_json.main(['gone.json', '--out', 'x', '--subset', 'LADD']) == 2
    assert 'gone.json: there is no such file' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build_train_json.main([*arguments, 'x', '--subset', 'LACR_I2I'])
    assert set(HEURISTICS) == set(build_train_json.SUBSETS)
