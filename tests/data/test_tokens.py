import json
import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from mmgpt.data.templates import MultiModalGPT, Otter, Piece, Rendered
from mmgpt.data.tokens import add_special_tokens, check_tokenizer, encode
from mmgpt.structures import IGNORE_INDEX, Medium, Turn

TEXT = st.text(st.characters(blacklist_categories=['Cs'], blacklist_characters='<>'), max_size=20)
CHUNK = st.tuples(TEXT, TEXT, st.integers(0, 2))


@pytest.fixture(scope='module', params=['llama', 'llama_legacy', 'gpt2'])
def tokenizer(request, llama_tokenizer_dir, gpt2_tokenizer_dir, tmp_path_factory):
    folder = {'llama': llama_tokenizer_dir, 'gpt2': gpt2_tokenizer_dir}.get(request.param)
    if folder is None:  # the published LLaMA files say nothing of 'legacy', which then is on
        folder = shutil.copytree(llama_tokenizer_dir, tmp_path_factory.mktemp('legacy') / 'tokenizer')
        config = json.loads((folder / 'tokenizer_config.json').read_text())
        (folder / 'tokenizer_config.json').write_text(json.dumps({**config, 'legacy': True}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    add_special_tokens(tokenizer, Otter())
    return tokenizer


def conversation(chunks) -> list[Turn]:
    turns = []
    for question, answer, media in chunks:
        turns += [Turn('user', question, (Medium(('a',)),) * media), Turn('assistant', answer)]
    return turns


def otter(tokenizer, turns, spacing='compact', max_seq_len=None, **how):
    rendered = Otter(spacing).render(turns, **how)
    return encode(rendered, tokenizer, '<image>', max_seq_len)


def published_labels(ids: list[int], tokenizer) -> list[int]:
    """Otter's own rule, on ids: what follows an <answer> up to its <|endofchunk|>, each end-of-text, not the first."""
    start, end, text_end = (*tokenizer.convert_tokens_to_ids(['<answer>', '<|endofchunk|>']), tokenizer.eos_token_id)
    labels = [i if i == text_end else IGNORE_INDEX for i in ids]
    for place, i in enumerate(ids):
        if i == start and end in ids[place:]:
            stop = ids.index(end, place)
            labels[place + 1 : stop + 1] = ids[place + 1 : stop + 1]
    return [IGNORE_INDEX, *labels[1:]]


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(CHUNK, min_size=1, max_size=3), spacing=st.sampled_from(['compact', 'spaced']))
def test_supervised_tokens_are_the_answers_their_ends_and_the_final_end(tokenizer, chunks, spacing):
    tokens = otter(tokenizer, conversation(chunks), spacing)
    assert tokens.labels.tolist() == published_labels(tokens.input_ids.tolist(), tokenizer)
    trained = tokens.labels[tokens.labels != IGNORE_INDEX]
    blank = ' ' if spacing == 'spaced' else ''
    wanted = ''.join(f'{blank}{Otter()._clean(Turn("assistant", answer))}<|endofchunk|>' for _, answer, _ in chunks)
    assert tokenizer.decode(trained).replace(' ', '') == (wanted + tokenizer.eos_token).replace(' ', '')


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(CHUNK, min_size=1, max_size=3), spacing=st.sampled_from(['compact', 'spaced']))
def test_a_prompt_is_the_beginning_of_prompt_and_answer(tokenizer, chunks, spacing):
    turns = conversation(chunks)
    prompt = otter(tokenizer, turns[:-1], spacing, generate=True).input_ids
    whole = otter(tokenizer, turns, spacing).input_ids
    assert prompt.tolist() == whole[: len(prompt)].tolist()
    assert tokenizer.decode(prompt[-1:]) == '<answer>'


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(CHUNK, min_size=1, max_size=3), limit=st.integers(1, 90))
def test_a_cut_row_keeps_the_beginning_and_no_half_answer(tokenizer, chunks, limit):
    whole, cut = (otter(tokenizer, conversation(chunks), max_seq_len=m) for m in (None, limit))
    ids = cut.input_ids.tolist()
    assert cut.cut == max(0, len(whole.input_ids) - 2 - limit)
    assert len(ids) == len(whole.input_ids) - cut.cut
    assert ids[:-1] == whole.input_ids[: len(ids) - 1].tolist()
    assert ids[-1] == tokenizer.eos_token_id
    assert cut.labels.tolist() == published_labels(ids, tokenizer)
    assert len(cut.media) == ids.count(tokenizer.convert_tokens_to_ids('<image>'))


def test_an_end_mark_in_the_question_trains_nothing_of_it(tokenizer):
    turns = conversation([('is <|endofchunk|> or <answer> here', 'no', 1), ('and now', 'yes', 0)])
    tokens = otter(tokenizer, turns)
    trained = tokenizer.decode(tokens.labels[tokens.labels != IGNORE_INDEX])
    assert [answer.strip() for answer in trained.split('<|endofchunk|>')[:2]] == ['no', 'yes']


def test_the_token_on_a_border_is_not_trained(tokenizer):
    text = 'the digit'
    start = 2  # inside of the first word
    tokens = encode(Rendered((Piece(text, ((start, len(text)),), bos=False, eos=False),), ()), tokenizer, '<image>')
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)['offset_mapping']
    crossing = [i for i, (a, b) in enumerate(offsets) if a < start]
    assert crossing
    assert (tokens.labels[crossing] == IGNORE_INDEX).all()
    assert (tokens.labels[len(crossing) :] == tokens.input_ids[len(crossing) :]).all()


@pytest.mark.parametrize('span', [(2, 6), (-1, 3), (4, 3)])
def test_a_span_beyond_its_text_is_refused(tokenizer, span):
    rendered = Rendered((Piece('a red', (span,)),), ())
    with pytest.raises(ValueError, match=r"supervised span \(-?\d, \d\) of a text of 5 characters: 'a red'"):
        encode(rendered, tokenizer, '<image>')


def test_a_line_break_before_a_span_stays_out_of_it(tokenizer):
    piece = Piece('### Response:\n red', ((14, 18),), eos=False)
    tokens = encode(Rendered((piece,), ()), tokenizer, '<image>')
    trained = tokenizer.decode(tokens.labels[tokens.labels != IGNORE_INDEX])
    assert trained.strip(' ') == 'red'


def test_pieces_are_encoded_by_themselves_and_share_the_room(tokenizer):
    """The form that MultiModal-GPT's dialogues need: each turn with its own beginning and end."""
    pieces = (Piece('the digit is', ((4, 12),)), Piece(' digit', ((0, 6),)))
    both = encode(Rendered(pieces, ()), tokenizer, '<image>')
    alone = [encode(Rendered((piece,), ()), tokenizer, '<image>') for piece in pieces]
    assert both.input_ids.tolist() == torch.cat([tokens.input_ids for tokens in alone]).tolist()
    room = len(alone[0].input_ids) - 2
    cut = encode(Rendered(pieces, ()), tokenizer, '<image>', max_seq_len=room)
    assert cut.cut == len(alone[1].input_ids) - 2
    begins = [i for i, id in enumerate(both.input_ids.tolist()) if id == tokenizer.bos_token_id]
    assert (both.labels[begins] == IGNORE_INDEX).all() or tokenizer.bos_token_id == tokenizer.eos_token_id


def test_marks_and_media_must_agree(tokenizer):
    with pytest.raises(ValueError, match=r"2 '<image>' marks for 1 media"):
        encode(Rendered((Piece('<image><image>'),), (Medium(('a',)),)), tokenizer, '<image>')
    with pytest.raises(ValueError, match=r"0 '<image>' marks for 1 media"):
        encode(Rendered((Piece('text'),), (Medium(('a',)),)), tokenizer, '<image>')


def test_a_tokenizer_that_splits_a_special_token_is_refused(llama_tokenizer_dir):
    tokenizer = AutoTokenizer.from_pretrained(llama_tokenizer_dir)
    with pytest.raises(ValueError, match=r"splits '<\|endofchunk\|>' into .* add it as a special token"):
        check_tokenizer(tokenizer, Otter())
    added = add_special_tokens(tokenizer, Otter())
    assert added == len(Otter.special_tokens) + 1  # and <PAD>
    assert add_special_tokens(tokenizer, Otter()) == 0
    check_tokenizer(tokenizer, Otter())
    assert tokenizer.decode(tokenizer('<image>a<|endofchunk|>')['input_ids'], skip_special_tokens=True).strip() == 'a'


def test_a_tokenizer_without_an_end_is_refused(gpt2_tokenizer_dir):
    tokenizer = AutoTokenizer.from_pretrained(gpt2_tokenizer_dir)
    add_special_tokens(tokenizer, Otter())
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match='needs an end-of-text'):
        check_tokenizer(tokenizer, Otter())


def unified(tokenizer, turns, max_seq_len=None, **how):
    return encode(MultiModalGPT().render(turns, **how), tokenizer, '<image>', max_seq_len)


def published_rounds(tokenizer, turns) -> tuple[list[int], list[int]]:
    """MultiModal-GPT's own rule: each round is encoded by itself, and what its prompt has not is trained."""
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, labels = [], []
    for piece in MultiModalGPT().render(turns).pieces:
        end = piece.text.index('### Response:\n') + len('### Response:\n')
        whole, prompt = (tokenizer(t, add_special_tokens=False)['input_ids'] for t in (piece.text, piece.text[:end]))
        ids += [*bos, *whole, tokenizer.eos_token_id]
        labels += [IGNORE_INDEX] * len(bos + prompt) + whole[len(prompt) :] + [tokenizer.eos_token_id]
    return ids, labels


DIALOGUE = [
    Turn('user', 'What digit is it?', (Medium(('a',)),)),
    Turn('assistant', 'It is a seven.'),
    Turn('user', 'Is it even?', (), 'yes, no'),
    Turn('assistant', 'no'),
    Turn('user', 'And six?'),
    Turn('assistant', 'Six is even.'),
]


@pytest.mark.parametrize('rounds', [1, 2, 3])
def test_trained_in_the_unified_template_are_the_responses_and_their_ends(tokenizer, rounds):
    turns = DIALOGUE[: 2 * rounds]
    tokens = unified(tokenizer, turns)
    ids, labels = published_rounds(tokenizer, turns)
    assert tokens.input_ids.tolist() == ids
    assert tokens.labels.tolist() == labels
    assert len(tokens.media) == 1
    trained = tokenizer.decode(tokens.labels[tokens.labels != IGNORE_INDEX])
    assert trained == ''.join(f'{turn.text}{tokenizer.eos_token}' for turn in turns[1::2])
    prompt = unified(tokenizer, turns[:-1], generate=True)
    assert tokens.input_ids[: len(prompt.input_ids)].tolist() == prompt.input_ids.tolist()


def test_a_dialogue_is_capped_as_a_whole(tokenizer):
    lengths = [
        len(tokenizer(p.text, add_special_tokens=False)['input_ids']) for p in MultiModalGPT().render(DIALOGUE).pieces
    ]
    whole, first = unified(tokenizer, DIALOGUE), unified(tokenizer, DIALOGUE[:2])
    for limit in range(1, len(whole.input_ids) + 2):
        cut = unified(tokenizer, DIALOGUE, max_seq_len=limit)
        assert cut.input_ids.tolist() == whole.input_ids[: len(cut.input_ids)].tolist()
        assert cut.labels.tolist() == whole.labels[: len(cut.labels)].tolist()
        # of a round of which nothing is left its beginning is missing, too
        assert limit - 1 <= len(cut.input_ids) <= limit or len(cut.input_ids) == len(whole.input_ids)
    border = unified(tokenizer, DIALOGUE, max_seq_len=len(first.input_ids))
    assert border.input_ids.tolist() == first.input_ids.tolist()
    assert border.labels.tolist() == first.labels.tolist()
    assert border.cut == sum(lengths[1:])
    endless = unified(tokenizer, DIALOGUE, max_seq_len=len(first.input_ids) - 1)  # its end finds no room
    assert endless.input_ids.tolist() == first.input_ids[:-1].tolist()
    half = unified(tokenizer, DIALOGUE, max_seq_len=len(first.input_ids) - 3)
    assert half.labels.tolist() == first.labels[:-3].tolist()
    prompt = unified(tokenizer, DIALOGUE[:1], generate=True)
    answerless = unified(tokenizer, DIALOGUE, max_seq_len=len(prompt.input_ids))
    assert (answerless.labels == IGNORE_INDEX).all()
