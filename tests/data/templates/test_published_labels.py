"""The exact ids and labels of each published format, computed here from the published rules alone."""

import shutil

import pytest
from transformers import AutoTokenizer

from mmgpt.data.templates import Idefics, MultiModalGPT, Otter, OtterLlama2
from mmgpt.data.tokens import add_special_tokens, encode
from mmgpt.structures import IGNORE_INDEX, Medium, Turn

LEAD = 'Below is an instruction that describes a task. Write a response that appropriately completes the request.'
PICTURE = (Medium(('p',)),)


@pytest.fixture(scope='module', params=['llama', 'gpt2'])
def folder(request, llama_tokenizer_dir, gpt2_tokenizer_dir, tmp_path_factory):
    source = {'llama': llama_tokenizer_dir, 'gpt2': gpt2_tokenizer_dir}[request.param]
    return shutil.copytree(source, tmp_path_factory.mktemp('tokenizer') / 'it')


def tokens(folder, template, turns, limit=None):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    add_special_tokens(tokenizer, template)
    return tokenizer, encode(template.render(turns), tokenizer, template.media_token, limit)


def otter_labels(ids, tokenizer, end):
    """What follows an <answer> up to its end mark, and each end of text; never the first token."""
    begin, stop = tokenizer.convert_tokens_to_ids(['<answer>', end])
    labels = [one if one == tokenizer.eos_token_id else IGNORE_INDEX for one in ids]
    for place, one in enumerate(ids):
        if one == begin and stop in ids[place:]:
            last = ids.index(stop, place)
            labels[place + 1 : last + 1] = ids[place + 1 : last + 1]
    return [IGNORE_INDEX, *labels[1:]]


TWO = [
    Turn('user', ' What is this?\n', PICTURE),
    Turn('assistant', ' A digit.\r\nIt is 7. '),
    Turn('user', 'And this?', PICTURE),
    Turn('assistant', 'the 8'),
]
SHARED = [*TWO[:2], Turn('user', 'And this?'), TWO[3]]
TEXT_ONLY = [Turn('user', 'And this?'), TWO[3]] * 2
NONE = [Turn('user', 'q'), Turn('assistant', '')]
OTTER = {
    ('compact', 'two'): '<image>User:What is this? GPT:<answer>A digit.\nIt is 7.<|endofchunk|>'
    '<image>User:And this? GPT:<answer>the 8<|endofchunk|>',
    ('compact', 'shared'): '<image>User:What is this? GPT:<answer>A digit.\nIt is 7.<|endofchunk|>'
    'User:And this? GPT:<answer>the 8<|endofchunk|>',
    ('compact', 'text'): 'User:And this? GPT:<answer>the 8<|endofchunk|>' * 2,
    ('compact', 'none'): 'User:q GPT:<answer><|endofchunk|>',
    ('spaced', 'two'): '<image>User: What is this? GPT:<answer> A digit.\nIt is 7.<|endofchunk|>'
    '<image>User: And this? GPT:<answer> the 8<|endofchunk|>',
    ('spaced', 'shared'): '<image>User: What is this? GPT:<answer> A digit.\nIt is 7.<|endofchunk|>'
    'User: And this? GPT:<answer> the 8<|endofchunk|>',
    ('spaced', 'text'): 'User: And this? GPT:<answer> the 8<|endofchunk|>' * 2,
    ('llama2', 'two'): '[INST]<image>\nWhat is this?[/INST]<answer>A digit.\nIt is 7.<|endofchunk|>'
    '[INST]<image>\nAnd this?[/INST]<answer>the 8<|endofchunk|>',
    ('llama2', 'shared'): '[INST]<image>\nWhat is this?[/INST]<answer>A digit.\nIt is 7.<|endofchunk|>'
    '[INST]And this?[/INST]<answer>the 8<|endofchunk|>',
    ('llama2', 'text'): '[INST]\nAnd this?[/INST]<answer>the 8<|endofchunk|>'
    '[INST]And this?[/INST]<answer>the 8<|endofchunk|>',
    (
        'idefics',
        'two',
    ): 'User:<fake_token_around_image><image><fake_token_around_image>What is this?<end_of_utterance>\n'
    'Assistant:<answer>A digit.\nIt is 7.<end_of_utterance>\n'
    'User:<fake_token_around_image><image><fake_token_around_image>And this?<end_of_utterance>\n'
    'Assistant:<answer>the 8<end_of_utterance>',
    ('idefics', 'text'): 'User:And this?<end_of_utterance>\nAssistant:<answer>the 8<end_of_utterance>\n'
    'User:And this?<end_of_utterance>\nAssistant:<answer>the 8<end_of_utterance>',
}
TURNS = {'two': TWO, 'shared': SHARED, 'text': TEXT_ONLY, 'none': NONE}
FORMATS = {
    'compact': Otter(),
    'spaced': Otter(spacing='spaced'),
    'llama2': OtterLlama2(),
    'idefics': Idefics(answer_token=True),
}


@pytest.mark.parametrize(('name', 'which'), OTTER)
def test_otters_formats(folder, name, which):
    template, text = FORMATS[name], OTTER[name, which]
    assert template.render(TURNS[which]).text == text
    tokenizer, row = tokens(folder, template, TURNS[which])
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = [*bos, *tokenizer(text, add_special_tokens=False)['input_ids'], tokenizer.eos_token_id]
    assert row.input_ids.tolist() == ids
    assert row.labels.tolist() == otter_labels(ids, tokenizer, template.stop_token)
    assert len(row.media) == text.count('<image>')


@pytest.mark.parametrize('name', FORMATS)
@pytest.mark.parametrize('limit', range(1, 60, 7))
def test_otters_formats_at_the_limit(folder, name, limit):
    """The text is cut on the right, then the ends are added; an answer without its end mark is not trained."""
    template = FORMATS[name]
    tokenizer, row = tokens(folder, template, TWO, limit)
    text = tokenizer(OTTER[name, 'two'], add_special_tokens=False)['input_ids'][:limit]
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids = [*bos, *text, tokenizer.eos_token_id]
    assert row.input_ids.tolist() == ids
    assert row.labels.tolist() == otter_labels(ids, tokenizer, template.stop_token)


def test_a_task_description_is_not_trained(folder):
    tokenizer, row = tokens(folder, Otter(), [Turn('system', 'Look at it.'), *TWO])
    text = f'Look at it.\n{OTTER["compact", "two"]}'
    assert Otter().render([Turn('system', 'Look at it.'), *TWO]).text == text
    assert row.labels.tolist() == otter_labels(row.input_ids.tolist(), tokenizer, '<|endofchunk|>')


INSTRUCTION = '\n\n### Instruction:\n{}\n\n### Response:\n'
UNIFIED = {  # the prompts of each round
    'image': [LEAD + '\n\n### Image:\n<image>' + INSTRUCTION.format('What is this?')],
    'image+options': [
        LEAD + '\n\n### Image:\n<image>\n\n### Instruction:\nWhat is this?\n\n### Input:\nbat, cup\n\n### Response:\n'
    ],
    'text': [LEAD + INSTRUCTION.format('What is this?')],
    'text+input': [LEAD + '\n\n### Instruction:\nWhat is this?\n\n### Input:\na\nb\n\n### Response:\n'],
    'dialogue': [
        LEAD + '\n\n### Image:\n<image>' + INSTRUCTION.format('What is this?'),
        INSTRUCTION.format('And this?'),
        INSTRUCTION.format('Why?'),
    ],
}
ASKED = {
    'image': [Turn('user', 'What is this?', PICTURE)],
    'image+options': [Turn('user', 'What is this?', PICTURE, ', '.join(['bat', 'cup']))],
    'text': [Turn('user', 'What is this?')],
    'text+input': [Turn('user', 'What is this?', (), 'a\nb')],
    'dialogue': [Turn('user', 'What is this?', PICTURE), Turn('user', 'And this?'), Turn('user', 'Why?')],
}
ANSWERS = ['the digit', ' A digit.\n', '']


def unified_rows(tokenizer, prompts, answers, limit=10**9):
    """Each round begins with a beginning of text and is cut; an end follows where there is room; prompts are masked."""
    ids, labels = [], []
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    for prompt, answer in zip(prompts, answers):
        own = [*bos, *tokenizer(prompt + answer, add_special_tokens=False)['input_ids']][:limit]
        if len(own) < limit:
            own.append(tokenizer.eos_token_id)
        masked = len(bos) + len(tokenizer(prompt, add_special_tokens=False)['input_ids'])
        ids += own
        labels += [IGNORE_INDEX] * min(masked, len(own)) + own[masked:]
    return ids, labels


@pytest.mark.parametrize('form', UNIFIED)
def test_the_unified_template(folder, form):
    turns = [turn for asked, answer in zip(ASKED[form], ANSWERS) for turn in (asked, Turn('assistant', answer))]
    tokenizer, row = tokens(folder, MultiModalGPT(), turns)
    ids, labels = unified_rows(tokenizer, UNIFIED[form], ANSWERS)
    assert row.input_ids.tolist() == ids
    assert row.labels.tolist() == labels
    assert len(row.media) == ''.join(UNIFIED[form]).count('<image>')


@pytest.mark.parametrize('answer', [' the 7', '\nthe 7', '\r\n the 7 \n\n', '7', '\t7', '</s>', 'é 7'])
def test_a_response_is_trained_as_it_is_written(folder, answer):
    turns = [*ASKED['image'], Turn('assistant', answer)]
    tokenizer, row = tokens(folder, MultiModalGPT(), turns)
    ids, labels = unified_rows(tokenizer, UNIFIED['image'], [answer])
    assert row.input_ids.tolist() == ids
    assert row.labels.tolist() == labels


@pytest.mark.parametrize('short', range(8))
def test_the_unified_template_at_the_limit(folder, short):
    """A limit that the text just fills leaves no room for the end; a shorter one cuts the response."""
    turns = [*ASKED['image'], Turn('assistant', 'the digit is 7')]
    tokenizer, whole = tokens(folder, MultiModalGPT(), turns)
    limit = len(whole.input_ids) - short
    _, row = tokens(folder, MultiModalGPT(), turns, limit)
    ids, labels = unified_rows(tokenizer, UNIFIED['image'], ['the digit is 7'], limit)
    assert row.input_ids.tolist() == ids
    assert row.labels.tolist() == labels


def test_a_prompt_that_fills_the_limit_leaves_nothing_to_train(folder):
    turns = [Turn('user', 'digit ' * 600, PICTURE), Turn('assistant', 'yes')]
    _, row = tokens(folder, MultiModalGPT(), turns, 512)
    assert len(row.input_ids) == 512
    assert (row.labels == IGNORE_INDEX).all()
