import pytest
import torch

from mmgpt.models.media_span import has_media, media_index, media_span, span_after

MARK = 9
MODES = ('previous', 'next', 'all_previous', 'all_next')
NINE = torch.tensor([[1, 2, MARK, 3, 4, MARK, 5, 6, 7]])
PICTURE = {
    'previous': '- - 0 0 0 1 1 1 1',
    'next': '0 0 0 1 1 1 - - -',
    'all_previous': '- - 0 0 0 01 01 01 01',
    'all_next': '0 0 0 01 01 01 - - -',
}


def drawn(span: torch.Tensor) -> str:
    return ' '.join(''.join(map(str, range(lo, hi))) or '-' for lo, hi in span.tolist())


@pytest.mark.parametrize('attend', MODES)
def test_nine_tokens(attend):
    assert drawn(media_span(NINE, None, MARK, attend)[0]) == PICTURE[attend]


@pytest.mark.parametrize('attend', MODES)
def test_the_picture_is_the_one_in_the_docstring(attend):
    lines = [line.split() for line in media_span.__doc__.splitlines()]
    assert [attend, *PICTURE[attend].split()] in lines


@pytest.mark.parametrize('attend', MODES)
def test_pads_see_nothing_and_shift_nothing(attend):
    plain = media_span(NINE, torch.ones_like(NINE), MARK, attend)
    assert torch.equal(plain, media_span(NINE, None, MARK, attend))
    for left, right in ((3, 0), (0, 3), (2, 2)):
        pads = [torch.zeros(1, left, dtype=torch.long), torch.zeros(1, right, dtype=torch.long)]
        ids = torch.cat((pads[0], NINE, pads[1]), 1)
        segments = torch.cat((pads[0], torch.ones_like(NINE), pads[1]), 1)
        span = media_span(ids, segments, MARK, attend)
        assert torch.equal(span[:, left : left + 9], plain)
        outside = torch.cat((span[:, :left], span[:, left + 9 :]), 1)
        assert (outside[..., 0] == outside[..., 1]).all()


@pytest.mark.parametrize('attend', MODES)
def test_samples_of_a_packed_row_see_only_their_own_media(attend):
    samples = [NINE[0], torch.tensor([3, 4]), torch.tensor([MARK, 1, 1]), torch.tensor([MARK]), torch.tensor([2, MARK])]
    row = torch.cat([*samples, torch.zeros(2, dtype=torch.long)])[None]
    segments = torch.cat([torch.full_like(s, i + 1) for i, s in enumerate(samples)] + [torch.zeros(2).long()])[None]
    packed = media_span(row, segments, MARK, attend)[0]
    offset = start = 0
    for sample in samples:
        alone = media_span(sample[None], None, MARK, attend)[0]
        empty = alone[:, :1] == alone[:, 1:]
        expected = (alone + offset).masked_fill(empty, 0)
        assert torch.equal(packed[start : start + len(sample)], expected)
        start += len(sample)
        offset += int((sample == MARK).sum())
    has = [bool((sample == MARK).any()) for sample in samples for _ in sample] + [False, False]
    assert has_media(row, segments, MARK)[0].tolist() == has
    assert media_index(row, segments, MARK).tolist() == [0, 1, 0, 0, 0]


@pytest.mark.parametrize('attend', MODES)
def test_a_decoded_token_sees_what_it_would_see_in_the_whole_text(attend):
    rows = torch.tensor([[1, MARK, 2, MARK, 3], [1, 1, 2, MARK, MARK], [1, 1, 1, 1, 1], [0, 0, MARK, 1, 1]])
    for segments in (torch.ones_like(rows), (torch.arange(5) < torch.tensor([[5], [5], [3], [5]])).long()):
        after = span_after(media_span(rows, segments, MARK, attend), segments, attend)
        for row, segment, span in zip(rows, segments, after):
            text = torch.cat((row[segment > 0], torch.tensor([7])))[None]
            assert drawn(span) == drawn(media_span(text, None, MARK, attend)[0, -1:])


@pytest.mark.parametrize('attend', ['previous', 'next'])
@pytest.mark.parametrize('seed', range(5))
def test_samples_that_choose_see_as_a_row_of_that_mode(attend, seed):
    generator = torch.Generator().manual_seed(seed)
    samples = [torch.randint(7, 10, (length,), generator=generator) for length in (5, 1, 4, 6, 3)]
    choices = torch.randint(-1, 2, (len(samples),), generator=generator)
    modes = [{-1: attend, 0: 'previous', 1: 'next'}[choice] for choice in choices.tolist()]
    alone = [media_span(sample[None], None, MARK, mode) for sample, mode in zip(samples, modes)]
    for sample, choice, span in zip(samples, choices, alone):
        assert torch.equal(media_span(sample[None], None, MARK, attend, choice.view(1, 1)), span)
    # the second row has fewer samples, the third none
    rows = torch.zeros(3, 22, dtype=torch.long)
    segments, chosen = torch.zeros_like(rows), torch.full((3, len(samples)), -1)
    for r, members in enumerate(([0, 1, 2, 3, 4], [4, 3], [])):
        ids = torch.cat([samples[i] for i in members] or [rows[0, :0]])
        rows[r, : len(ids)] = ids
        segments[r, : len(ids)] = torch.tensor([k + 1 for k, i in enumerate(members) for _ in samples[i]])
        chosen[r, : len(members)] = choices[members]
    packed = media_span(rows, segments, MARK, attend, chosen)
    for r, members in enumerate(([0, 1, 2, 3, 4], [4, 3])):
        offset, expected = 0, []
        for i in members:
            empty = alone[i][..., :1] == alone[i][..., 1:]
            expected.append((alone[i] + offset).masked_fill(empty, 0)[0])
            offset += int((samples[i] == MARK).sum())
        expected = torch.cat(expected)
        assert torch.equal(packed[r, : len(expected)], expected)
        assert not packed[r, len(expected) :].any()
    assert not packed[2].any()


def test_samples_cannot_choose_where_the_model_sees_all_media():
    with pytest.raises(ValueError, match=r"attend='all_previous'.*leave attend_next out"):
        media_span(NINE, None, MARK, 'all_previous', torch.ones(1, 1, dtype=torch.long))


def test_wrong_mode_is_named():
    with pytest.raises(ValueError, match="all_next, got 'nearest'"):
        media_span(NINE, None, MARK, 'nearest')
