"""What the browser of data sets shows is what training reads."""

import base64
import io
import json
import re
import shutil
import subprocess
import tarfile
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmgpt.data.browse import packed, rows, without_augmentation, write_page
from mmgpt.data.browse.rows import addresses, spaced
from mmgpt.data.dataset import Address, InstructionDataset
from mmgpt.data.image_stores import ParquetImages, VideoFiles
from mmgpt.data.incontext import RelatedInstructions
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import ImageTextTars, MimicIt
from mmgpt.data.vision_inputs import RandomBrightness
from tests.data import planting
from tools import browse_dataset

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


@pytest.fixture
def dataset(mimicit, prompter):
    images = ParquetImages(mimicit / 'XX.parquet')
    source = MimicIt(mimicit / 'XX_instructions.json', images)
    entry = SourceEntry(source, RelatedInstructions(num=(1, 2)), augment=(RandomBrightness(bias=90.0),))
    return InstructionDataset([entry], prompter, max_seq_len=128)


def test_rows_are_what_training_reads_in_the_order_of_the_file(dataset):
    found = list(rows(without_augmentation(dataset)))
    assert [row.samples[0].id for row in found] == [f'XX_INS_{i:02d}' for i in range(16)]
    for number, row in enumerate(found):
        item = dataset[Address(0, number)]
        line = json.loads(json.dumps(row.to_dict(dataset)))
        assert line['input_ids'] == item.encoded.input_ids.tolist()
        assert line['labels'] == item.encoded.labels.tolist()
        assert line['context_ids'] == list(item.encoded.context_ids)
        assert line['segment_ids'] == [1] * len(line['input_ids'])
        assert [medium['shape'] for medium in line['media']] == [
            [len(medium.frames), *item.frames[medium.frames[0]].shape] for medium in item.encoded.media
        ]
        assert line['text'] == dataset.prompter.tokenizer.decode(line['input_ids'])
    assert found[10].to_dict(dataset)['media'][0]['frame_ids'] == [f'XX_IMG_{i:02d}' for i in range(4, 9)]


def test_pictures_are_as_the_transform_gives_them(dataset):
    row = next(rows(without_augmentation(dataset), [[Address(0, 3)]], pixels=True))
    plain = dataset.prompter.frame('XX_IMG_03', dataset.entries[0].source.images)
    last = row.samples[0].media[-1].frames[0]
    assert torch.equal(row.frames[last], plain)


def test_packed_rows_say_where_samples_meet(dataset):
    row = next(rows(without_augmentation(dataset), [[Address(0, 0), Address(0, 12)]]))
    lengths = [len(sample.input_ids) for sample in row.samples]
    line = row.to_dict(dataset)
    assert line['id'] == 'XX_INS_00 + XX_INS_12'
    assert line['segment_ids'] == [1] * lengths[0] + [2] * lengths[1]


def test_rows_say_which_image_their_text_sees_where_the_data_say_it(dataset, tmp_path):
    plain = without_augmentation(dataset)
    assert 'attend_next' not in next(rows(plain)).to_dict(plain)
    dataset.entries[0].source.pages = True
    choosing = InstructionDataset([replace(dataset.entries[0], attend_next=0.5)], dataset.prompter)
    addresses = [Address(0, 0), Address(0, 12)]
    row = next(rows(without_augmentation(choosing), [addresses], pixels=True))
    expected = [choosing.encode(address).attend_next for address in addresses]
    assert row.to_dict(choosing)['attend_next'] == expected
    write_page(tmp_path / 'page.html', [row], choosing, 'pages')
    shown = page_data(tmp_path / 'page.html')[1]['rows'][0]['samples']
    assert [sample['attend_next'] for sample in shown] == expected


def test_rows_are_packed_as_training_packs_them(dataset):
    plain = without_augmentation(dataset)
    assert packed(plain, {}) is None
    assert packed(plain, {'type': 'MixtureSampler'}) is None
    found = list(rows(plain, packed(plain, {'type': 'PackingSampler', 'row_length': 200})))
    assert sorted(sample.id for row in found for sample in row.samples) == [f'XX_INS_{i:02d}' for i in range(16)]
    assert 1 < len(found) < 16
    assert all(len(row.input_ids) <= 200 for row in found)
    assert [row.samples[0].id for row in found] == sorted(row.samples[0].id for row in found)


@pytest.mark.parametrize('window', [5, 7, 16, 1024])
def test_packed_rows_of_an_epoch_show_each_sample_once(dataset, window):
    options = {'type': 'PackingSampler', 'row_length': 130, 'window': window}
    shown = [address for row in packed(without_augmentation(dataset), options) for address in row]
    assert sorted(shown) == [Address(0, index) for index in range(16)]


def page_data(path):
    text = path.read_text(encoding='utf-8')
    return text, json.loads(re.search(r'<script id="data" type="application/json">(.*)</script>', text)[1])


def test_a_page_holds_all_it_shows(dataset, tmp_path):
    plain = without_augmentation(dataset)
    groups = [[Address(0, 8)], [Address(0, 10), Address(0, 13)]]
    assert write_page(tmp_path / 'page.html', rows(plain, groups, pixels=True), plain, '<my> data') == 2
    text, data = page_data(tmp_path / 'page.html')
    assert '&lt;my&gt; data' in text
    assert not re.search(r'(src|href)\s*=\s*["\']?(https?:)?//', text)
    first, packed = data['rows']
    expected = plain.encode(Address(0, 8))
    assert first['ids'] == expected.input_ids.tolist()
    assert first['trained'] == (expected.labels != -100).long().tolist()
    assert ''.join(first['tokens']) == plain.prompter.tokenizer.decode(first['ids'])
    assert [sample['id'] for sample in packed['samples']] == ['XX_INS_10', 'XX_INS_13']
    url = data['frames'][first['media'][-1]['frames'][1]]
    shown = np.array(Image.open(io.BytesIO(base64.b64decode(url.split(',')[1]))))
    frame = plain.prompter.frame('XX_IMG_01', plain.entries[0].source.images)
    assert np.array_equal(shown, frame.permute(1, 2, 0).numpy())


def test_frames_are_named_as_an_item_has_them(prompter, tmp_path, make_picture):
    av = pytest.importorskip('av')
    (tmp_path / 'p.png').write_bytes(make_picture(5))
    record = {'instruction': 'What?', 'answer': 'A clip.', 'image_ids': ['clip.mp4', 'p.png']}
    (tmp_path / 'V_instructions.json').write_text(json.dumps({'data': {'V_INS_0': record}}))
    with av.open(str(tmp_path / 'clip.mp4'), 'w') as file:
        stream = file.add_stream('mpeg4', rate=5)
        stream.width = stream.height = 32
        for number in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 80 * number, np.uint8))))
        file.mux(stream.encode())
    with tarfile.open(tmp_path / '0.tar', 'w') as tar:
        for name, data in (('a.png', make_picture(6)), ('a.txt', b'A house.')):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    sources = [MimicIt(tmp_path / 'V_instructions.json', VideoFiles(tmp_path)), ImageTextTars(tmp_path / '0.tar')]
    dataset = InstructionDataset(list(map(SourceEntry, sources)), prompter)
    lines = [row.to_dict(dataset)['media'] for row in rows(dataset)]
    assert [medium['frame_ids'] for medium in lines[0]] == [['clip.mp4#0', 'clip.mp4#1', 'clip.mp4#2', 'p.png']]
    assert [medium['shape'][0] for medium in lines[0]] == [4]
    assert [medium['frame_ids'] for medium in lines[1]] == [[[0, 0]]]  # it has no name: its place
    assert lines == [row.to_dict(dataset)['media'] for row in rows(dataset, pixels=True)]


def test_a_limit_reads_no_more_than_is_shown(tmp_path, llama_tokenizer_dir):
    records = [{'instruction': f'{i}?', 'input': '', 'output': 'Yes.'} for i in range(5)]
    (tmp_path / 'a.json').write_text(json.dumps([*records, {'instruction': 'broken'}]))
    named = ['--source', 'alpaca', '--ann', str(tmp_path / 'a.json'), '--template', 'Otter']
    named += ['--tokenizer', str(llama_tokenizer_dir), '--out', str(tmp_path / 'page.html')]
    assert browse_dataset.main([*named, '--limit', '3']) == 0
    assert [(one['of'], one['all']) for one in page_data(tmp_path / 'page.html')[1]['histograms']] == [(3, 6)] * 2
    assert browse_dataset.main([*named, '--limit', '6']) == 2


def test_samples_are_spaced_over_all_sources():
    dataset = SimpleNamespace(sizes=[0, 3, 0, 7])
    every = [address for (address,) in addresses(dataset)]
    assert list(spaced(dataset, 10)) == every
    assert list(spaced(dataset, 4)) == [every[i] for i in (0, 3, 6, 9)]


@pytest.mark.parametrize('folder', ['llama_tokenizer_dir', 'gpt2_tokenizer_dir'])
def test_characters_of_several_tokens_are_shown_whole(folder, tmp_path, request):
    said = 'はい、ダリアです。 é 🙂 end'
    records = [{'instruction': '日本語?', 'input': '', 'output': said}]
    (tmp_path / 'ja.json').write_text(json.dumps(records))
    named = ['--source', 'alpaca', '--ann', str(tmp_path / 'ja.json'), '--template', 'Otter']
    named += ['--tokenizer', str(request.getfixturevalue(folder)), '--out', str(tmp_path / 'page.html')]
    assert browse_dataset.main(named) == 0
    (row,) = page_data(tmp_path / 'page.html')[1]['rows']
    text = ''.join(row['tokens'])
    assert said in text
    assert '\ufffd' not in text
    assert len(row['tokens']) == len(row['ids'])
    assert {'は', 'い'} < set(row['tokens'])
    assert row['tokens'].count('') > 10  # the first bytes of each


def test_text_cannot_leave_its_place_in_the_page(tmp_path, llama_tokenizer_dir):
    files = planting.clean()
    files.lists['alpaca.json'][0]['output'] = '</script><script>alert(1)</script>'
    planting.write(files, tmp_path)
    source = ['--source', 'alpaca', '--ann', str(tmp_path / 'alpaca.json')]
    out = ['--out', str(tmp_path / 'page.html')]
    assert browse_dataset.main([*source, '--template', 'Otter', '--tokenizer', str(llama_tokenizer_dir), *out]) == 0
    text, data = page_data(tmp_path / 'page.html')
    assert text.count('</script>') == 2
    assert '</script><script>alert(1)</script>' in ''.join(data['rows'][0]['tokens'])


def test_the_tool_writes_lines_and_tells_where_a_fault_is(tmp_path, llama_tokenizer_dir, capsys):
    planting.write(planting.clean(), tmp_path)
    (tmp_path / 'config.py').write_text(planting.config(tmp_path, llama_tokenizer_dir))
    out = tmp_path / 'new' / 'rows.jsonl'
    assert browse_dataset.main([str(tmp_path / 'config.py'), '--jsonl', str(out), '--limit', '70', '--no-pack']) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line['id'] for line in lines[:2] + lines[59:61]] == ['AA_INS_001', 'AA_INS_002', 'BB_INS_000', 'BB_INS_001']
    assert len(lines) == 70
    assert list(lines[0]) == ['id', 'text', 'input_ids', 'labels', 'media', 'context_ids', 'segment_ids']
    assert lines[0]['context_ids'] == ['AA_INS_000']

    planting.write(planting.planted(), tmp_path)
    assert browse_dataset.main([str(tmp_path / 'config.py'), '--jsonl', str(out)]) == 2
    assert 'AA_' in capsys.readouterr().err


def test_bad_usage():
    for argv in ([], ['config.py'], ['config.py', '--out', 'x.html', '--limit', '0'], ['--source', 'llava']):
        with pytest.raises(SystemExit) as end:
            browse_dataset.parse(argv)
        assert end.value.code == 2


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason='needs a browser: apt-get install chromium')
@pytest.mark.parametrize('width', [500, 1200])  # headless Chromium has no narrower window
def test_a_browser_shows_it(dataset, tmp_path, width):
    plain = without_augmentation(dataset)
    groups = [[Address(0, 8)], [Address(0, 10), Address(0, 13)]]
    path = tmp_path / 'page.html'
    write_page(path, rows(plain, groups, pixels=True), plain, 'data')
    measured = """<script>onload = () => {
      document.body.dataset.width = document.documentElement.scrollWidth;
      document.body.dataset.loaded = [...document.images].every(image => image.complete && image.naturalWidth);
    };</script></body>"""
    page = path.read_text(encoding='utf-8').replace("picture.loading = 'lazy'", "picture.loading = 'eager'")
    path.write_text(page.replace('</body>', measured))
    command = [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', f'--window-size={width},900', '--dump-dom']
    done = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    dom = done.stdout
    assert dom.count('<article>') == 2
    assert 'sample 2: XX_INS_13' in dom
    trained = int((plain.encode(Address(0, 8)).labels != -100).sum())
    first = dom[dom.index('<article>') : dom.index('</article>')]
    assert first.count('class="trained"') == trained
    assert 'data-loaded="true"' in dom
    assert int(re.search(r'data-width="(\d+)"', dom)[1]) <= width
