import pytest

from mmgpt.data.templates import Idefics
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Medium, Turn

TRAY = Medium(('tray',))
TURNS = [
    Turn('user', 'Is it hot?', (TRAY,)),
    Turn('assistant', 'No.'),
    Turn('user', 'And these?', (TRAY, TRAY)),
    Turn('assistant', 'Yes.'),
]
MARK = '<fake_token_around_image><image><fake_token_around_image>'


def test_a_tuned_models_dialogue():
    rendered = Idefics().render(TURNS)
    piece = rendered.pieces[0]
    assert piece.text == (
        f'User:{MARK}Is it hot?<end_of_utterance>\nAssistant: No.<end_of_utterance>\n'
        f'User:{MARK}<image><fake_token_around_image>And these?<end_of_utterance>\nAssistant: Yes.<end_of_utterance>'
    )
    assert [piece.text[a:b] for a, b in piece.supervised] == [' No.<end_of_utterance>', ' Yes.<end_of_utterance>']
    assert rendered.media == (TRAY,) * 3
    assert Idefics().render(TURNS[:1], generate=True).text == f'User:{MARK}Is it hot?<end_of_utterance>\nAssistant:'


def test_a_base_model_knows_no_end_of_utterance():
    template = Idefics(end_of_utterance=False)
    assert template.render(TURNS[:2]).text == f'User:{MARK}Is it hot?\nAssistant: No.'
    assert template.stop_token is None
    assert '<end_of_utterance>' not in template.special_tokens


def test_otters_format_marks_where_the_answer_begins():
    rendered = Idefics(answer_token=True).render(TURNS[:2])
    piece = rendered.pieces[0]
    assert piece.text == f'User:{MARK}Is it hot?<end_of_utterance>\nAssistant:<answer>No.<end_of_utterance>'
    assert [piece.text[a:b] for a, b in piece.supervised] == ['No.<end_of_utterance>']


@pytest.mark.parametrize('arguments', [{}, {'end_of_utterance': False}, {'answer_token': True}])
def test_it_is_built_again_and_an_unfinished_answer_has_no_end(arguments):
    template = TEMPLATES.build({'type': 'Idefics', **arguments})
    assert TEMPLATES.build(template.to_dict()).special_tokens == template.special_tokens
    whole, cut = template.render(TURNS[:2]), template.render(TURNS[:2], continue_last=True)
    assert cut.text == whole.text.removesuffix('<end_of_utterance>')
    assert not cut.pieces[0].eos


def test_text_without_pictures_has_no_marks_and_a_mark_in_text_is_refused():
    text = Idefics().render([Turn('system', 'Look.'), Turn('user', 'Hot?', input='tea')], generate=True).text
    assert text == 'Look.\nUser:Hot?\ntea<end_of_utterance>\nAssistant:'
    with pytest.raises(ValueError, match='stands for a medium'):
        Idefics().render([Turn('user', 'Is <image> hot?')], generate=True)
