"""The tokenizer's own chat template: which text, and which of its tokens are trained."""

import pytest
from transformers import AutoTokenizer

from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import ChatTemplate
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.structures import IGNORE_INDEX, Medium, Turn

CHATML = (
    '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}'
    '{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}'
)
# like Qwen3's: the last answer has a thought, earlier ones have none
THINKING = (
    '{% for m in messages %}<|im_start|>{{ m.role }}\n'
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
    '{% endfor %}'
    '{% if add_generation_prompt %}<|im_start|>assistant\n{% if quiet %}<think>\n\n</think>\n\n{% endif %}{% endif %}'
)
INST = (  # ends its answers with the end of text, and knows no system
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content | trim }}<|endoftext|>{% endif %}"
    '{% endfor %}'
)
BARE = (
    '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}'
    '{% if add_generation_prompt %}assistant: {% endif %}'
)
PICTURE = (Medium(('p',)),)
TURNS = [
    Turn('user', 'What is this? ', PICTURE),
    Turn('assistant', ' the digit\n'),
    Turn('user', 'And this?', PICTURE, 'a passage'),
    Turn('assistant', 'no'),
]
ASKED = (
    '<|im_start|>user\n<image>\nWhat is this?<|im_end|>\n',
    '<|im_start|>user\n<image>\nAnd this?\na passage<|im_end|>\n',
)


@pytest.fixture
def prompter(gpt2_tokenizer_dir):
    def make(source, **options):
        tokenizer = AutoTokenizer.from_pretrained(gpt2_tokenizer_dir)
        tokenizer.add_special_tokens({'additional_special_tokens': ['<|im_start|>', '<|im_end|>']})
        tokenizer.chat_template = source
        template = ChatTemplate(options=options)
        add_special_tokens(tokenizer, template)
        return Prompter(template, tokenizer, ImageTransform(8))

    return make


def trained(prompter, turns):
    """The text, and its trained stretches."""
    tokens = prompter.encode(turns)
    stretches, last = [], None
    for place, label in enumerate(tokens.labels.tolist()):
        if label != IGNORE_INDEX:
            if last != place - 1:
                stretches.append([])
            stretches[-1].append(label)
            last = place
    return prompter.tokenizer.decode(tokens.input_ids), [prompter.tokenizer.decode(ids) for ids in stretches]


def test_answers_and_the_ends_of_their_turns_are_trained(prompter):
    one = prompter(CHATML)
    begin = '<|im_start|>assistant\n'
    text, answers = trained(one, TURNS)
    assert text == f'{ASKED[0]}{begin}the digit<|im_end|>\n{ASKED[1]}{begin}no<|im_end|>\n'
    assert answers == ['the digit<|im_end|>', 'no<|im_end|>']
    assert one.tokenizer.decode([one.stop_token_id]) == '<|im_end|>'
    assert one.text(TURNS[:3], generate=True) == f'{ASKED[0]}{begin}the digit<|im_end|>\n{ASKED[1]}{begin}'
    assert len(one.encode(TURNS).media) == 2
    described = [Turn('system', 'Be brief.'), *TURNS]
    assert trained(one, described)[0].startswith('<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user')


@pytest.mark.parametrize('quiet', [False, True])
def test_a_template_that_treats_earlier_rounds_differently(prompter, quiet):
    one = prompter(THINKING, quiet=quiet)
    thought = '<think>\n\n</think>\n\n'
    text, answers = trained(one, TURNS)
    assert text.count(thought) == 1
    assert answers == ['the digit<|im_end|>', ('' if quiet else thought) + 'no<|im_end|>']


@pytest.mark.parametrize('source', [CHATML, THINKING, INST, BARE])
def test_a_prompt_is_the_beginning_of_prompt_and_answer(prompter, source):
    one = prompter(source)
    prompt, whole = one.encode(TURNS[:3], generate=True), one.encode(TURNS)
    assert whole.input_ids[: len(prompt.input_ids)].tolist() == prompt.input_ids.tolist()
    assert (prompt.labels == IGNORE_INDEX).all()
    assert whole.labels[len(prompt.input_ids)] != IGNORE_INDEX


def test_an_end_of_text_that_the_template_writes_comes_once(prompter):
    one = prompter(INST)
    text, answers = trained(one, TURNS)
    assert text.count('<|endoftext|>') == 2
    assert text.startswith('[INST] <image>\nWhat is this? [/INST] the digit<|endoftext|>[INST]')
    assert answers == [' the digit<|endoftext|>', ' no<|endoftext|>']
    assert one.stop_token_id == one.tokenizer.eos_token_id


def test_a_template_without_ends_gets_the_end_of_text(prompter):
    one = prompter(BARE)
    text, answers = trained(one, TURNS)
    assert text.endswith('assistant: no\n<|endoftext|>')
    assert answers == [' the digit', ' no', '<|endoftext|>']


def test_an_unfinished_answer_is_continued(prompter):
    one = prompter(CHATML)
    assert one.text(TURNS, continue_last=True).endswith('<|im_start|>assistant\nno')
    ids = one.encode(TURNS).input_ids.tolist()
    unfinished = one.encode(TURNS, continue_last=True).input_ids.tolist()
    assert ids[: len(unfinished)] == unfinished


def test_it_is_built_again_with_the_tokenizer(prompter):
    one = prompter(THINKING, quiet=True)
    again = Prompter.from_dict(one.to_dict(), one.tokenizer)
    assert again.encode(TURNS).input_ids.tolist() == one.encode(TURNS).input_ids.tolist()
    own = Prompter(ChatTemplate(chat_template=CHATML), one.tokenizer, ImageTransform(8))
    assert own.text(TURNS).count('<think>') == 0


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        (None, 'has no chat template'),
        ('{{ messages[0].content }}', 'leaves out an answer of 1'),
        (CHATML.replace('assistant\n{% endif', 'assistant\n<think>{% endif'), 'as a prompt, and .* before an answer'),
    ],
)
def test_a_template_that_cannot_be_used_is_refused(prompter, source, message):
    with pytest.raises(ValueError, match=message):
        prompter(source)


def test_faults_of_a_conversation(prompter):
    with pytest.raises(ValueError, match=r"refuses \['system', 'user', 'assistant'\]: no system here"):
        prompter(INST).encode([Turn('system', 's'), *TURNS[:2]])
    with pytest.raises(ValueError, match='changes what the answers say'):
        prompter(CHATML.replace('m.content', "m.content.split('|')[-1]")).encode([TURNS[0], Turn('assistant', 'a|b')])
    with pytest.raises(ValueError, match="holds '<image>'"):
        prompter(CHATML).encode([Turn('user', 'an <image>')], generate=True)
    with pytest.raises(ValueError, match=r'use bind\(tokenizer\)'):
        ChatTemplate().render(TURNS)
