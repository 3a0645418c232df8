import json
import pickle

import numpy as np
import pytest

from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.image_stores import JsonImages
from mmgpt.data.incontext import (
    EarlierRounds,
    RandomInstructions,
    SharedMedia,
    SimilarInstructions,
    similar_pairs,
    write_features,
)
from mmgpt.data.incontext.similar import FeatureTable, nearest
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import MimicIt
from mmgpt.structures import Sample


def rng(seed=0):
    return np.random.default_rng(seed)


def source_of(folder, records):
    """A MIMIC-IT source of ``(id, question, image ids)``."""
    data = {id: {'instruction': text, 'answer': 'Yes.', 'image_ids': images} for id, text, images in records}
    (folder / 'XX_instructions.json').write_text(json.dumps({'data': data}))
    (folder / 'XX.json').write_text('{}')
    return MimicIt(folder / 'XX_instructions.json', JsonImages(folder / 'XX.json'))


SCENES = [
    ('S_0', 'Where is the bed?', ['SN_IMG_scene0001_00_color_000001', 'SN_IMG_scene0001_00_color_000005']),
    ('S_1', 'Where is the sofa?', ['SN_IMG_scene0001_00_color_000005']),
    ('S_2', 'Where is the lamp?', ['SN_IMG_scene0001_00_color_000009']),
    ('S_3', 'Where is the bed lamp?', ['SN_IMG_scene0002_00_color_000001']),
    ('S_4', 'Why?', []),
]


@pytest.fixture
def source(tmp_path):
    return source_of(tmp_path, SCENES)


def contexts(retriever, source):
    bound = retriever.bind(source)
    for same in (bound, pickle.loads(pickle.dumps(bound)), retriever.bind(source)):
        found = {source[i].id: same(source[i], rng()) for i in range(len(source))}
    return found


def test_shared_pictures_and_scenes(source):
    assert contexts(SharedMedia(), source) == {'S_0': ['S_1'], 'S_1': ['S_0'], 'S_2': [], 'S_3': [], 'S_4': []}
    scenes = contexts(SharedMedia(pattern=r'scene\d{4}_\d{2}'), source)
    assert scenes == {'S_0': ['S_1', 'S_2'], 'S_1': ['S_0', 'S_2'], 'S_2': ['S_0', 'S_1'], 'S_3': [], 'S_4': []}
    assert contexts(SharedMedia(1, 'last', pattern='scene(.{4})'), source)['S_0'] == ['S_2']


def test_earlier_rounds_by_pictures_and_by_ids(tmp_path):
    rounds = [('C_a_0', 'One?', ['p']), ('C_b_0', 'One?', ['p']), ('C_a_1', 'Two?', ['p']), ('C_a_2', 'Three?', ['p'])]
    source = source_of(tmp_path, rounds)
    by_id = contexts(EarlierRounds(by='id', pattern=r'(.+)_\d+$'), source)
    assert by_id == {'C_a_0': [], 'C_b_0': [], 'C_a_1': ['C_a_0'], 'C_a_2': ['C_a_0', 'C_a_1']}
    assert contexts(EarlierRounds(), source)['C_a_2'] == ['C_a_0', 'C_b_0', 'C_a_1']
    assert contexts(EarlierRounds(1), source)['C_a_2'] == ['C_a_1']


def test_rounds_that_a_training_file_does_not_list_are_found_where_the_sample_names_them(tmp_path):
    data = {
        f'C_{c}_{r}': {
            'instruction': f'{r}?', 'answer': 'Yes.', 'image_ids': [f'p{c}'],
            'rel_ins_ids': [f'C_{c}_{k}' for k in range(r)] + ['C_1_0', 'C_gone'],
        }
        for c in range(2) for r in range(3)
    }  # fmt: skip
    (tmp_path / 'C_instructions.json').write_text(json.dumps({'data': data}))
    (tmp_path / 'C_train.json').write_text(json.dumps({'C_1_2': [], 'C_0_1': ['C_0_0'], 'C_0_2': []}))
    (tmp_path / 'C.json').write_text('{}')
    source = MimicIt(tmp_path / 'C_instructions.json', JsonImages(tmp_path / 'C.json'), tmp_path / 'C_train.json')
    expected = {'C_1_2': ['C_1_0', 'C_1_1'], 'C_0_1': ['C_0_0'], 'C_0_2': ['C_0_0', 'C_0_1']}
    assert contexts(EarlierRounds(), source) == expected
    assert contexts(EarlierRounds(by='id', pattern=r'(.+)_\d+$'), source) == expected
    assert contexts(SharedMedia(), source)['C_0_1'] == ['C_0_0', 'C_0_2']


def test_broken_records_cost_the_others_no_context(tmp_path, prompter):
    source_of(tmp_path, [(f'A_{i}', 'What is it?', []) for i in range(4)])
    file = tmp_path / 'XX_instructions.json'
    file.write_text(file.read_text().replace('"Yes."', 'null', 1))
    source = MimicIt(file)
    for retriever in (SharedMedia(by='id', pattern='^A'), SimilarInstructions(3)):
        data = InstructionDataset([SourceEntry(source, retriever)], prompter, replace_unreadable=True)
        assert sorted(data.encode((0, 3)).context_ids) == ['A_1', 'A_2']
        assert data.encode((0, 0)).id != 'A_0'
    with pytest.raises(ValueError, match=r"'A_0': \"answer\" should be a string"):
        InstructionDataset([SourceEntry(source, retriever)], prompter).encode((0, 0))


def test_random_ones_are_others_and_all_are_met(source):
    retriever = RandomInstructions((1, 2)).bind(source)
    drawn = [retriever(source[0], rng(seed)) for seed in range(100)]
    assert {len(ids) for ids in drawn} == {1, 2}
    assert set().union(*drawn) == {'S_1', 'S_2', 'S_3', 'S_4'}
    assert all(len(set(ids)) == len(ids) for ids in drawn)
    assert drawn == [retriever(source[0], rng(seed)) for seed in range(100)]


def test_random_ones_pass_over_broken_samples_and_read_no_more_than_they_need():
    read = []

    class Half:
        def __len__(self):
            return 40

        def __getitem__(self, index):
            read.append(index)
            if index % 2:
                raise ValueError(f'{index} is broken')
            return Sample(f'S_{index}', ())

    for seed in range(20):
        read.clear()
        found = RandomInstructions(3).bind(Half())(Sample('S_0', ()), rng(seed))
        sound = [f'S_{index}' for index in read if index and not index % 2]
        assert found == sound
        assert len(found) == 3
    read.clear()
    assert RandomInstructions(0).bind(Half())(Sample('S_0', ()), rng()) == []
    assert not read


def test_text_similarity_puts_the_most_similar_last(source):
    found = contexts(SimilarInstructions(2), source)
    assert found['S_0'][-1] == 'S_3'
    assert 'S_0' not in found['S_0']
    assert found['S_3'][-1] == 'S_0' or found['S_3'][-1] == 'S_2'


def test_image_similarity_by_features_of_a_file(tmp_path):
    angles = {'a': 0.0, 'b': 0.1, 'c': 0.3, 'd': 1.5}
    features = {key: np.array([[np.cos(angle), np.sin(angle)]]) * 7 for key, angle in angles.items()}
    assert write_features(tmp_path / 'features', (([key], row) for key, row in features.items())) == 4
    records = [('A', 'x', ['a']), ('A2', 'x', ['a']), ('B', 'x', ['b']), ('C', 'x', ['c']), ('D', 'x', ['d'])]
    source = source_of(tmp_path, [*records, ('AD', 'x', ['a', 'd'])])
    retriever = SimilarInstructions(2, features=tmp_path / 'features')
    found = contexts(retriever, source)
    assert found['A'] == ['C', 'B']  # not A2, which shows the same picture
    assert found['D'] == ['C', 'AD']
    assert found['AD'][-1] == 'C'  # the mean of 0 and 1.5 is nearest to 0.3
    write_features(tmp_path / 'features', (([key], row) for key, row in list(features.items())[:3]))
    with pytest.raises(ValueError, match=r"has no features of 'd' \(of 'D'\): .* take it out of the data"):
        retriever.bind(source)
    with pytest.raises(FileNotFoundError, match=r'extract_features.py writes'):
        SimilarInstructions(1, features=tmp_path / 'nowhere').bind(source)


def test_features_that_were_not_written_whole_do_not_get_the_keys_of_others(tmp_path, monkeypatch):
    write_features(tmp_path, [(['a', 'b'], np.eye(2))])
    monkeypatch.setattr(KeyIndex, 'save', lambda *_: (_ for _ in ()).throw(OSError('the disk is full')))
    with pytest.raises(OSError, match='full'):
        write_features(tmp_path, [(['c', 'd'], np.eye(2))])
    with pytest.raises(FileNotFoundError, match=r'keys\.arrow: not there'):
        FeatureTable(tmp_path)


def test_neighbours_are_what_comparing_all_with_all_gives(monkeypatch):
    monkeypatch.setattr('mmgpt.data.incontext.similar.BLOCK', 70)  # several blocks
    rows, groups = rng().normal(size=(23, 4)), rng(1).integers(0, 9, 23)
    found = nearest(lambda block: rows[block] @ rows.T, groups, 5)
    for i in range(23):
        others = sorted((j for j in range(23) if groups[j] != groups[i]), key=lambda j: rows[i] @ rows[j])
        assert found[i].tolist() == others[-5:]
    assert nearest(lambda block: rows[block] @ rows.T, np.zeros(23), 3).tolist() == [[-1] * 3] * 23


def test_what_was_found_is_kept_until_the_file_changes(source, tmp_path):
    SharedMedia().bind(source)
    SimilarInstructions(1).bind(source)
    made = sorted(path.name for path in (tmp_path / '.mmgpt').iterdir() if path.is_dir())
    assert [name.split('.')[2].split('-')[0] for name in made] == ['neighbour', 'relation']
    changed = source_of(tmp_path, [*SCENES, ('S_5', 'Where?', ['SN_IMG_scene0001_00_color_000005'])])
    assert contexts(SharedMedia(), changed)['S_0'] == ['S_1', 'S_5']


def test_a_data_set_binds_its_retrievers(source, prompter):
    entry = SourceEntry(
        source_of(source._records.path.parent, [(id, text, []) for id, text, _ in SCENES]),
        SharedMedia(by='id', pattern='S'),
    )
    encoded = InstructionDataset([entry], prompter).encode((0, 0, 0))
    assert encoded.context_ids == ('S_1', 'S_2', 'S_3', 'S_4')


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: SharedMedia(by='video'), "by must be 'images' or 'id'"),
        (lambda: SharedMedia(by='id'), 'needs a pattern'),
        (lambda: SimilarInstructions(3, k=2), 'k must be at least num'),
        (lambda: SimilarInstructions(3, 'first'), 'the nearest stand last'),
        (lambda: SharedMedia()(SCENES, rng()), r'call bind\(source\) first'),
        (lambda: RandomInstructions(1)(SCENES, rng()), r'call bind\(source\) first'),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_pairs_of_similar_pictures(tmp_path):
    angles = {'a': 0.0, 'again': 0.0, 'b': 0.1, 'c': 0.25, 'd': 1.0, 'text': 0.26}  # 'again' is the picture of 'a'
    rows = (([key], [[np.cos(angle), np.sin(angle)]]) for key, angle in angles.items())
    write_features(tmp_path / 'features', rows)
    pairs = list(similar_pairs(tmp_path / 'features', lambda key: key != 'text'))
    assert pairs == [('a', 'b'), ('again', 'b'), ('c', 'b'), ('d', 'c')]  # b has found a, which is there already
    assert list(similar_pairs(tmp_path / 'features', lambda key: False)) == []
    with pytest.raises(FileNotFoundError, match='extract_features'):
        next(similar_pairs(tmp_path / 'none'))
