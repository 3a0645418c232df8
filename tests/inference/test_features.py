import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, CLIPVisionConfig, CLIPVisionModel

from mmgpt.data.incontext import FeatureTable, SimilarInstructions
from mmgpt.data.sources import MimicIt
from tools import extract_features

TOWER = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
)


def _png():
    data = io.BytesIO()
    Image.new('RGB', (20, 20)).save(data, 'PNG')
    return data.getvalue()


def test_features_of_pictures(mimicit, tmp_path, capsys):
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(**TOWER)).save_pretrained(tmp_path / 'tower')
    encoder = f"dict(type='ClipVision', config={TOWER!r}, weights={str(tmp_path / 'tower')!r})"
    (tmp_path / 'config.py').write_text(f'model = dict(vision_encoder={encoder})')
    arguments = [str(tmp_path / 'config.py'), '--images', str(mimicit / 'XX.parquet'), '--out', str(tmp_path / 'out')]
    assert extract_features.main([*arguments, '--batch-size', '5']) == 0
    assert 'features of 12' in capsys.readouterr().out
    rows = np.load(tmp_path / 'out' / 'features.npy').astype(np.float32)
    assert rows.shape == (12, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    (tmp_path / 'pictures').mkdir()
    for number, data in enumerate((b'broken', _png(), b'', _png())):
        (tmp_path / 'pictures' / f'{number}.png').write_bytes(data)
    of_folder = [*arguments[:2], str(tmp_path / 'pictures'), '--batch-size', '2', '--out', str(tmp_path / 'two')]
    assert extract_features.main(of_folder) == 1
    told = capsys.readouterr().out
    assert 'features of 2\n2 could not be read and have no features:\n  0.png: ' in told
    assert '\n  2.png: ' in told
    assert [np.load(tmp_path / 'two' / 'features.npy').shape, *FeatureTable(tmp_path / 'two').keys] == [
        (2, 16),
        '1.png',
        '3.png',
    ]
    for number in (1, 3):
        (tmp_path / 'pictures' / f'{number}.png').write_bytes(b'broken')
    assert extract_features.main(of_folder) == 2
    told = capsys.readouterr()
    assert 'nothing that features could be written of' in told.err
    assert '4 could not be read' in told.out
    assert len(FeatureTable(tmp_path / 'two').keys) == 2  # what was there stays
    assert extract_features.main([*arguments, '--device', 'gpu']) == 2
    assert capsys.readouterr().err.startswith('extract_features: Expected one of cpu, cuda')
    (tmp_path / 'config.py').write_text("model = dict(vision_encoder=dict(type='ClipVision'))")
    assert extract_features.main(arguments) == 2
    assert 'names no weights' in capsys.readouterr().err
    (tmp_path / 'config.py').write_text("model = dict(vision_encoder=dict(type='ClipVision', weights='x', depth=2))")
    assert extract_features.main(arguments) == 2
    assert "unexpected keyword argument 'depth'" in capsys.readouterr().err
    (tmp_path / 'config.py').write_text('model = dict()')
    assert extract_features.main(arguments) == 2
    assert 'config.py has no model.vision_encoder' in capsys.readouterr().err


def test_features_of_questions_serve_the_retriever(mimicit, tmp_path, gpt2_tokenizer_dir, capsys):
    from transformers import AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(gpt2_tokenizer_dir)
    tokenizer.model_max_length = 64
    tokenizer.model_input_names = ['input_ids', 'attention_mask']
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(tmp_path / 'encoder')
    tokenizer.save_pretrained(tmp_path / 'encoder')
    instructions = tmp_path / 'XX_instructions.json'
    instructions.write_text((mimicit / 'XX_instructions.json').read_text())
    arguments = ['--sentence-encoder', str(tmp_path / 'encoder'), '--source', 'mimicit', '--ann', str(instructions)]
    assert extract_features.main([*arguments, '--out', str(tmp_path / 'out')]) == 0
    assert 'features of 16' in capsys.readouterr().out
    source = MimicIt(instructions)
    retriever = SimilarInstructions(3, features=tmp_path / 'out', by='id').bind(source)
    ids = retriever(source[0], np.random.default_rng(0))
    assert len(set(ids) - {source[0].id}) == 3
    read = json.loads(instructions.read_text())
    assert set(ids) <= set(read['data'])
    read['data'][source[0].id]['instruction'] = 5
    instructions.write_text(json.dumps(read))
    assert extract_features.main([*arguments, '--out', str(tmp_path / 'out')]) == 1
    assert 'features of 15\n1 could not be read and have no features:\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['c.py'],
        ['--sentence-encoder', 'x'],
        ['c.py', '--sentence-encoder', 'x'],
        ['c.py', '--images', 'i', '--batch-size', '0'],
    ],
)
def test_what_is_missing_is_said_before_anything_is_loaded(arguments):
    with pytest.raises(SystemExit) as stop:
        extract_features.main([*arguments, '--out', 'o'])
    assert stop.value.code == 2
