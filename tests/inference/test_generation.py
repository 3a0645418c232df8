import pytest

from mmgpt.inference.generation import GenerationSettings


def test_greedy_by_default():
    arguments = GenerationSettings().arguments()
    assert arguments['do_sample'] is False
    assert 'temperature' not in arguments


def test_a_temperature_draws():
    arguments = GenerationSettings(temperature=0.7, top_p=0.9).arguments()
    assert (arguments['do_sample'], arguments['temperature'], arguments['top_p']) == (True, 0.7, 0.9)
    assert arguments['top_k'] == 0  # Hugging Face would silently keep the best 50 only


@pytest.mark.parametrize(
    'wrong',
    [
        {'max_new_tokens': 0},
        {'temperature': -0.1},
        {'top_p': 0},
        {'top_p': 1.1},
        {'num_beams': 0},
        {'no_repeat_ngram_size': -1},
        {'num_beams': 2, 'temperature': 1.0},
        {'stop': 'abc'},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        GenerationSettings(**wrong)
