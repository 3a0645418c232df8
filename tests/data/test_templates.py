import pytest

from mmgpt.data.templates import LEAD, MultiModalGPT, OpenFlamingo, Otter
from mmgpt.registry import TEMPLATES
from mmgpt.structures import Medium, Turn

TRAY = Medium(('tray',))


def turns(*pairs, media=()):
    return [turn for q, a in pairs for turn in (Turn('user', q, media), Turn('assistant', a))]


@pytest.mark.parametrize(
    ('spacing', 'text'),
    [
        ('compact', '<image>User:Is it hot? GPT:<answer>No.<|endofchunk|>'),
        ('spaced', '<image>User: Is it hot? GPT:<answer> No.<|endofchunk|>'),
    ],
)
def test_both_published_spacings(spacing, text):
    template = Otter(spacing=spacing)
    assert template.render(turns(('Is it hot?', 'No.'), media=(TRAY,))).text == text
    prompt = template.render(turns(('Is it hot?', ''), media=(TRAY,))[:1], generate=True)
    assert prompt.text == text[: text.index('<answer>') + len('<answer>')]
    assert not prompt.pieces[0].eos


def test_context_comes_first_and_its_answers_are_trained():
    rendered = Otter().render(
        [*turns(('a?', '1'), media=(TRAY, TRAY)), *turns(('b?', '2')), *turns(('c?', '3'), media=(Medium(('x', 'y')),))]
    )
    piece = rendered.pieces[0]
    assert piece.text == (
        '<image><image>User:a? GPT:<answer>1<|endofchunk|>User:b? GPT:<answer>2<|endofchunk|>'
        '<image>User:c? GPT:<answer>3<|endofchunk|>'
    )
    assert [piece.text[a:b] for a, b in piece.supervised] == [f'{n}<|endofchunk|>' for n in (1, 2, 3)]
    assert rendered.media == (TRAY, TRAY, Medium(('x', 'y')))


def test_a_task_description_stands_in_front_of_everything():
    text = Otter().render([Turn('system', 'Look closely. '), *turns(('a?', '1'), media=(TRAY,))]).text
    assert text == 'Look closely.\n<image>User:a? GPT:<answer>1<|endofchunk|>'


def test_clean_up():
    assert Otter().render(turns((' \na - b?\n ', '\t1\r\n2 \n'))).text == 'User:a - b? GPT:<answer>1\n2<|endofchunk|>'
    plain = Otter(keep_symbols=False).render(turns(('# a - <image>b?', '* "1" ~ 2%'))).text
    assert plain == 'User:a imageb? GPT:<answer>"1" 2<|endofchunk|>'
    described = [Turn('system', 'Answer in 1-2 words: red/green.'), *turns(('red/green?', 'Red: 100%'))]
    plain = Otter(keep_symbols=False).render(described).text
    assert plain == 'Answer in 1-2 words: red/green.\nUser:redgreen? GPT:<answer>Red 100<|endofchunk|>'


def test_an_unfinished_answer_has_no_end():
    rendered = Otter().render(turns(('a?', '1'), ('b?', 'because')), continue_last=True)
    assert rendered.text == 'User:a? GPT:<answer>1<|endofchunk|>User:b? GPT:<answer>because'
    assert not rendered.pieces[0].eos


@pytest.mark.parametrize(
    ('conversation', 'how', 'message'),
    [
        ([], {}, 'expected an optional system turn'),
        ([Turn('system', 's')], {}, 'expected an optional system turn'),
        ([Turn('user', 'q')], {}, 'ending with an assistant turn'),
        ([Turn('user', 'q')], {'continue_last': True}, 'ending with an assistant turn'),
        (turns(('q', 'a')), {'generate': True}, 'ending with a user turn'),
        ([Turn('user', 'q'), Turn('user', 'q')], {}, r"got \['user', 'user'\]"),
        ([Turn('assistant', 'a'), Turn('user', 'q')], {}, 'then user and assistant in turn'),
        ([*turns(('q', 'a')), Turn('system', 's')], {'generate': True}, 'then user and assistant in turn'),
        ([Turn('user', 'q'), Turn('assistant', 'a', (TRAY,))], {}, 'only user turns can have media'),
        (turns(('what is <image>', 'a')), {}, "user turn holds '<image>'"),
        (turns(('q', 'an <image>')), {}, "assistant turn holds '<image>'"),
        (turns(('q', 'a')), {'generate': True, 'continue_last': True}, 'choose one'),
    ],
)
def test_what_is_no_conversation_is_refused(conversation, how, message):
    with pytest.raises(ValueError, match=message):
        Otter().render(conversation, **how)


def test_a_template_is_built_again_from_its_dict():
    template = Otter(spacing='spaced', keep_symbols=False)
    again = TEMPLATES.build(template.to_dict())
    assert again.to_dict() == template.to_dict()
    assert repr(again) == "Otter(spacing='spaced', keep_symbols=False)"
    with pytest.raises(ValueError, match="must be 'compact' or 'spaced'"):
        Otter(spacing='wide')


@pytest.mark.parametrize(
    ('question', 'text'),
    [
        (Turn('user', ' q\n', (TRAY,)), '{lead}\n\n### Image:\n<image>\n\n### Instruction:\n q\n\n\n### Response:\n'),
        (
            Turn('user', 'q', (TRAY,), 'bat, cup'),
            '{lead}\n\n### Image:\n<image>\n\n### Instruction:\nq\n\n### Input:\nbat, cup\n\n### Response:\n',
        ),
        (Turn('user', 'q'), '{lead}\n\n### Instruction:\nq\n\n### Response:\n'),
        (Turn('user', 'q', (), 'x'), '{lead}\n\n### Instruction:\nq\n\n### Input:\nx\n\n### Response:\n'),
    ],
)
def test_the_unified_template(question, text):
    template = MultiModalGPT()
    prompt = template.render([question], generate=True)
    assert prompt.text == text.format(lead=LEAD)
    assert not prompt.pieces[0].eos
    assert not prompt.pieces[0].supervised
    whole = template.render([question, Turn('assistant', ' an answer\n')])
    assert whole.text == prompt.text + ' an answer\n'
    (piece,) = whole.pieces
    assert piece.eos
    assert [piece.text[a:b] for a, b in piece.supervised] == [' an answer\n']
    told = template.render([Turn('system', 'Be short.'), question], generate=True)
    assert told.text == text.format(lead='Be short.')
    assert whole.media == question.media


def test_rounds_of_a_dialogue_are_pieces_of_their_own():
    rendered = MultiModalGPT().render([*turns(('q1', 'a1'), ('q2', 'a2')), Turn('user', 'q3')], generate=True)
    assert [piece.text for piece in rendered.pieces] == [
        f'{LEAD}\n\n### Instruction:\nq1\n\n### Response:\na1',
        '\n\n### Instruction:\nq2\n\n### Response:\na2',
        '\n\n### Instruction:\nq3\n\n### Response:\n',
    ]
    assert [(piece.bos, piece.eos) for piece in rendered.pieces] == [(True, True), (True, True), (True, False)]


def test_the_unified_template_is_built_again_and_refuses_marks():
    template = TEMPLATES.build(MultiModalGPT(lead='Answer.').to_dict())
    assert template.render([Turn('user', 'q')], generate=True).text.startswith('Answer.\n\n### Instruction')
    with pytest.raises(ValueError, match="user turn holds '<image>'"):
        template.render([Turn('user', 'q', (), 'an <image>')], generate=True)


def test_otter_writes_an_input_below_its_question():
    rendered = Otter().render([Turn('user', 'Which?', (), 'bat, cup'), Turn('assistant', 'cup')])
    assert rendered.text == 'User:Which?\nbat, cup GPT:<answer>cup<|endofchunk|>'


@pytest.mark.parametrize(
    ('question', 'text'),
    [
        ('Is it hot?', '<image>Question:Is it hot? Short answer:No<|endofchunk|>'),
        ('', '<image>Output:No<|endofchunk|>'),
    ],
)
def test_openflamingos_questions_and_captions(question, text):
    template = OpenFlamingo()
    example = turns((question, 'No'), media=(TRAY,))
    assert template.render(example).text == text
    rendered = template.render([*example, example[0]], generate=True)
    assert rendered.text == f'{text}\n{text[: text.index("No")]}'
    assert [rendered.text[a:b] for a, b in rendered.pieces[0].supervised] == ['No<|endofchunk|>']
    assert rendered.media == (TRAY, TRAY)
    assert not rendered.pieces[0].eos
    system = [Turn('system', 'Look.'), *example]
    assert template.render(system, continue_last=True).text == f'Look.\n{text.removesuffix("<|endofchunk|>")}'
    assert not OpenFlamingo(bos=False).render(example).pieces[0].bos


def test_an_openflamingo_template_is_built_again_from_its_config():
    config = OpenFlamingo(separator='', bos=False).to_dict()
    assert TEMPLATES.build(dict(config)).to_dict() == config == dict(type='OpenFlamingo', separator='', bos=False)
