import json

import numpy as np
import pytest
from PIL import Image

from mmgpt.inference.chat import Chat
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.inferencer import VisionLanguageInferencer
from tests.hub import tiny

SETTINGS = GenerationSettings(max_new_tokens=5)


@pytest.fixture(scope='module')
def inferencer():
    return VisionLanguageInferencer(*tiny.model_and_processor())


def expected(text, *pictures):
    return Chat(*tiny.model_and_processor(), settings=SETTINGS).ask(text, images=pictures).text


def test_answers_and_pictures_of_them(inferencer, tmp_path):
    questions = [
        {'image': np.asarray(tiny.picture(0)), 'text': 'What?'},
        'Why?',
        {
            'images': [tiny.picture(1), tiny.picture(2)],
            'text': 'Which of the two is it, and why is it not the other one?',
        },
    ]
    out = inferencer(
        questions,
        batch_size=2,
        settings=SETTINGS,
        return_vis=True,
        img_out_dir=str(tmp_path),
        pred_out_file=str(tmp_path / 'p.json'),
    )
    texts = [expected('What?', tiny.picture(0)), expected('Why?')]
    texts.append(expected(questions[2]['text'], tiny.picture(1), tiny.picture(2)))
    assert [one['text'] for one in out['predictions']] == texts
    assert json.loads((tmp_path / 'p.json').read_text()) == out['predictions']
    for i, drawn in enumerate(out['visualization']):
        assert (np.asarray(Image.open(tmp_path / f'{i:08}.png')) == drawn).all()
        assert drawn.min() < 128  # the words
    assert (out['visualization'][0][:16, :20] == np.asarray(tiny.picture(0))).all()


def test_one_question_and_its_errors(inferencer):
    out = inferencer({'image': tiny.picture(3), 'text': 'What?'}, settings=SETTINGS)
    assert out == {
        'predictions': [{**out['predictions'][0], 'text': expected('What?', tiny.picture(3))}],
        'visualization': [],
    }
    with pytest.raises(FileNotFoundError, match='nowhere'):
        inferencer({'image': 'nowhere.png', 'text': 'What?'})
    with pytest.raises(ValueError, match="'text'"):
        inferencer({'image': tiny.picture(0)})
