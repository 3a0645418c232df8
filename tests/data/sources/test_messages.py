import json
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgpt.data.image_stores import FolderImages
from mmgpt.data.sources import Messages
from mmgpt.structures import Medium, Turn

TEXT = {'type': 'text', 'text': 'What is this?'}
IMAGE = {'type': 'image'}
ANSWER = {'role': 'assistant', 'content': 'A cat.'}


def user(*content):
    return {'role': 'user', 'content': content[0] if isinstance(content[0], str) else list(content)}


def jsonl(folder, *records):
    (folder / 'chat.jsonl').write_text('\n'.join(map(json.dumps, records)))
    return folder / 'chat.jsonl'


@pytest.fixture
def images(tmp_path, make_picture):
    (tmp_path / 'images').mkdir()
    for number, name in enumerate('abc'):
        (tmp_path / f'images/{name}.png').write_bytes(make_picture(number))
    return FolderImages(tmp_path / 'images')


@pytest.mark.parametrize(
    ('messages', 'pictures', 'turns'),
    [
        ([user('Hi'), ANSWER], None, [('user', 'Hi', []), ('assistant', 'A cat.', [])]),
        ([user('<image>\nWhat?'), ANSWER], ['a.png'], [('user', 'What?', [['a.png']]), ('assistant', 'A cat.', [])]),
        ([user('Is <image> like <image>?'), ANSWER], ['a.png', 'b.png'],
         [('user', 'Is  like ?', [['a.png'], ['b.png']])]),
        ([user(IMAGE, TEXT), ANSWER, user(IMAGE, TEXT), ANSWER], ['a.png', 'b.png'],
         [('user', 'What is this?', [['a.png']]), ('assistant', 'A cat.', []), ('user', 'What is this?', [['b.png']])]),
        ([user({**IMAGE, 'index': 1}, {**IMAGE, 'index': 0}, TEXT), ANSWER], ['a.png', 'b.png'],
         [('user', 'What is this?', [['b.png'], ['a.png']])]),
        ([user(TEXT), ANSWER], 'a.png', [('user', 'What is this?', [['a.png']])]),
        ([user({**IMAGE, 'image': 'c.png'}, TEXT), ANSWER], None, [('user', 'What is this?', [['c.png']])]),
        ([user({'type': 'image_set', 'images': ['a.png', 'b.png']}, TEXT), ANSWER], [],
         [('user', 'What is this?', [['a.png', 'b.png']])]),
    ],
)  # fmt: skip
def test_messages_become_turns(tmp_path, images, messages, pictures, turns):
    sample = Messages(jsonl(tmp_path, {'messages': messages, 'images': pictures}), images)[0]
    got = [(turn.role, turn.text, [list(medium.frames) for medium in turn.media]) for turn in sample.turns]
    assert got[: len(turns)] == turns
    assert len(got) == len(messages)
    assert sample.kind == ('image' if any(turn.media for turn in sample.turns) else 'text')


SAID = [('user', 'What is this?', 1), ('assistant', 'A cat.', 0), ('user', 'And that?', 0), ('assistant', 'A dog.', 0)]
FORMS = {
    'conversations': [
        {'from': 'human', 'value': '<image>\nWhat is this?'},
        {'from': 'gpt', 'value': 'A cat.'},
        {'from': 'human', 'value': 'And that?'},
        {'from': 'gpt', 'value': 'A dog.'},
    ],
    'texts': [
        {'user': 'What is this?', 'assistant': 'A cat.', 'source': 'made up'},
        {'user': 'And that?', 'assistant': 'A dog.', 'source': 'made up'},
    ],
}


@pytest.mark.parametrize('column', ['image', 'images'])
@pytest.mark.parametrize('field', FORMS)
def test_other_forms_of_the_hub(tmp_path, images, make_picture, field, column):
    """Of LLaVA-OneVision and The Cauldron: the same turns from lines and from tables with the pictures inside."""
    name, cell = 'b.png', {'bytes': make_picture(1), 'path': None}
    named, held = (name, cell) if column == 'image' else ([name], [cell])
    pq.write_table(pa.table({field: [FORMS[field]] * 2, column: [held] * 2}), tmp_path / 'x.parquet')
    lines = Messages(jsonl(tmp_path, {field: FORMS[field], column: named}), images)
    for source in (lines, Messages(tmp_path / 'x.parquet')):
        sample = source[len(source) - 1]
        assert [(turn.role, turn.text, len(turn.media)) for turn in sample.turns] == SAID
        assert sample.kind == 'image'
        assert source.images.read(sample.turns[0].media[0].frames[0]) == make_picture(1)


def test_a_text_of_such_a_form(tmp_path):
    record = {'conversations': [{'from': 'system', 'value': 'Be brief.'}, *FORMS['texts'][1:]], 'image': None}
    sample = Messages(jsonl(tmp_path, record))[0]
    assert [turn.role for turn in sample.turns] == ['system', 'user', 'assistant']
    assert sample.kind == 'text'


def test_system_input_video_and_language(tmp_path, images):
    video = {'type': 'video', 'video': ['a.png', 'b.png', 'c.png']}
    given = {'type': 'input', 'text': 'A passage.'}
    record = {
        'id': 7,
        'language': 'es',
        'messages': [{'role': 'system', 'content': 'Be brief.'}, user(video, TEXT, given), ANSWER],
    }
    sample = Messages(jsonl(tmp_path, record), images)[0]
    assert sample.turns[:2] == (
        Turn('system', 'Be brief.'),
        Turn('user', 'What is this?', (Medium(('a.png', 'b.png', 'c.png')),), 'A passage.'),
    )
    assert (sample.id, sample.language, sample.kind) == ('7', 'es', 'video')


def table(make_picture, form):
    cells = {
        'structs': [[{'bytes': make_picture(0), 'path': 'x.png'}, {'bytes': make_picture(1), 'path': None}], [], None],
        'bytes': [[make_picture(0), make_picture(1)], [], None],
        'only bytes': [[{'bytes': make_picture(0)}, {'bytes': make_picture(1)}], [], None],
    }[form]
    messages = [[user(IMAGE, IMAGE, TEXT), {'role': 'assistant', 'content': [{'type': 'text', 'text': 'A cat.'}]}]]
    plain = [[user(TEXT), {'role': 'assistant', 'content': [{'type': 'text', 'text': 'Nothing.'}]}]] * 2
    return pa.table({'messages': messages + plain, 'images': cells})


@pytest.mark.parametrize('form', ['structs', 'bytes', 'only bytes'])
@pytest.mark.parametrize('kind', ['file', 'folder', 'stream', 'arrow file', 'saved'])
def test_pictures_in_the_rows_of_a_table(tmp_path, make_picture, form, kind):
    rows = table(make_picture, form)
    folder = tmp_path / 'set'
    folder.mkdir()
    path = folder
    if kind == 'file':
        path = folder / 'x.parquet'
        pq.write_table(rows, path, row_group_size=2)
    elif kind == 'folder':
        pq.write_table(rows.slice(0, 1), folder / '0.parquet')
        pq.write_table(rows.slice(1), folder / '1.parquet')
    else:
        write = pa.ipc.new_file if kind == 'arrow file' else pa.ipc.new_stream
        with write(str(folder / 'data-0.arrow'), rows.schema) as writer:
            writer.write_table(rows, max_chunksize=2)
        if kind == 'saved':
            (folder / 'state.json').write_text(json.dumps({'_data_files': [{'filename': 'data-0.arrow'}]}))
    source = pickle.loads(pickle.dumps(Messages(path)))
    assert len(source) == 3
    assert source[0].turns[0] == Turn('user', 'What is this?', (Medium(((0, 0),)), Medium(((0, 1),))))
    assert [source[i].kind for i in range(3)] == ['image', 'text', 'text']
    assert source.images.read((0, 1)) == make_picture(1)
    assert source.images.open((0, 0)).size == (12, 12)
    assert (0, 1) in source.images
    assert (0, 2) not in source.images
    assert (1, 0) not in source.images
    with pytest.raises(KeyError, match='has no picture 2'):
        source.images.read((0, 2))


def test_pictures_that_a_table_only_names(tmp_path, images, make_picture):
    messages = [[user(IMAGE, TEXT), {'role': 'assistant', 'content': [TEXT]}]] * 2
    cells = pa.array(
        [[{'path': 'b.png'}], [{'path': 'd.png'}]], pa.list_(pa.struct([('bytes', pa.binary()), ('path', pa.string())]))
    )
    rows = pa.table({'messages': messages, 'images': cells})
    pq.write_table(rows, tmp_path / 'x.parquet')
    source = Messages(tmp_path / 'x.parquet', images)
    assert source.images.read(source[0].turns[0].media[0].frames[0]) == make_picture(1)
    assert (1, 0) not in source.images
    with pytest.raises(KeyError, match=r"no image 'd.png'"):
        source.images.open((1, 0))
    with pytest.raises(KeyError, match=r"names the picture 'b.png' and does not hold it"):
        Messages(tmp_path / 'x.parquet').images.open((0, 0))


def test_a_row_is_trained_on_from_a_table(tmp_path, make_picture, prompter):
    from mmgpt.data.builder import build_dataset

    pq.write_table(table(make_picture, 'structs'), tmp_path / 'x.parquet')
    sources = [{'type': 'Messages', 'annotations': str(tmp_path / 'x.parquet')}]
    item = build_dataset({'sources': sources}, prompter)[(0, 0, 0)]
    assert len(item.frames) == 2
    assert {tuple(frame.shape) for frame in item.frames.values()} == {(3, 8, 8)}


@pytest.mark.parametrize(
    ('record', 'message'),
    [
        (
            {'messages': [user('Hi')]},
            r'chat.jsonl, line 1: record 0: "messages" should be a list of at least 2 objects',
        ),
        ({'messages': [user('<image>'), ANSWER]}, '"images" should be a list with a picture 0, got no such field'),
        (
            {'messages': [user('<image>'), ANSWER], 'images': ['a', 'b']},
            'as many pictures as there are marks: 1 of them',
        ),
        ({'messages': [user({**IMAGE, 'index': 4}), ANSWER], 'images': ['a']}, 'a list with a picture 4'),
        ({'messages': [{'role': 'tool', 'content': 'x'}, ANSWER]}, r'"messages"\[0\]: "role" should be system or user'),
        ({'messages': [user({'type': 'audio'}), ANSWER]}, r'"messages"\[0\]: "content"\[0\]: "type" should be text or'),
        (
            {'messages': [user({'type': 'text'}), ANSWER]},
            r'"content"\[0\]: "text" should be a string, got no such field',
        ),
        ({'messages': [{'role': 'user', 'content': 4}, ANSWER]}, '"content" should be a list'),
        ({'messages': [user('Hi'), ANSWER], 'images': [3]}, '"images" should be a list of file names'),
        ({'texts': []}, '"texts" should be a list of at least 1 object'),
        (
            {'conversations': [{'from': 'tool', 'value': 'Hi'}]},
            r'"conversations"\[0\]: "from" should be system or user or assistant or human or gpt',
        ),
        (
            {'conversations': [{'from': 'human', 'value': 'Hi'}]},
            '"conversations" should be a list of at least 2 objects',
        ),
        (
            {'texts': [{'user': '<image>', 'assistant': 'a'}], 'image': None},
            '"image" should be a list with a picture 0',
        ),
        (
            {'messages': [user({'type': 'video', 'count': 0}, TEXT), ANSWER], 'images': []},
            '"count" should be a whole number from 1, got 0',
        ),
    ],
)
def test_a_record_of_another_form_is_a_fault_with_its_place(tmp_path, images, record, message):
    with pytest.raises(ValueError, match=message):
        Messages(jsonl(tmp_path, record), images)[0]


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match='nor a folder with any'):
        Messages(tmp_path)
    (tmp_path / 'x.parquet').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'x.parquet: cannot be read as a table'):
        Messages(tmp_path / 'x.parquet')
    (tmp_path / 'y').mkdir()
    (tmp_path / 'y/state.json').write_text(json.dumps({'_data_files': [], '_indices_files': [{'filename': 'i'}]}))
    with pytest.raises(ValueError, match='save it again after flatten_indices'):
        Messages(tmp_path / 'y')
    (tmp_path / 'z').mkdir()
    pq.write_table(pa.table({'a': [1]}), tmp_path / 'z/0.parquet')
    pq.write_table(pa.table({'b': [1]}), tmp_path / 'z/1.parquet')
    with pytest.raises(ValueError, match=r"1.parquet: has the columns \['b'\]"):
        Messages(tmp_path / 'z')


def test_a_fault_in_a_table_names_file_and_row(tmp_path):
    pq.write_table(pa.table({'messages': [[user('a')], [user('a')], [user('b')]]}), tmp_path / 'x.parquet', 2)
    with pytest.raises(ValueError, match=r'x.parquet, row 2: "messages" should be a list of at least 2'):
        Messages(tmp_path / 'x.parquet').draw(2, np.random.default_rng(0))
