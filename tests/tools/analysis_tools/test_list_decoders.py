"""The table of decoders: what can be one, what cannot, and a name that there is not."""

from __future__ import annotations

from tools.analysis_tools import list_decoders


def test_families_that_can_and_one_that_cannot(capsys):
    assert list_decoders.main(['llama', 'mpt', 'cohere']) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows == [
        '| llama | CausalLM | positions | yes |',
        '| mpt | MPT | float_mask | yes |',
        '| cohere | CausalLM | positions | no: its own logits |',
    ]
    assert list_decoders.main(['bloom']) == 1
    assert '| bloom | no: the media do not reach the layers of BloomForCausalLM' in capsys.readouterr().out


def test_an_unknown_family_is_answered_with_the_closest(capsys):
    assert list_decoders.main(['quen3']) == 2
    assert "no causal language model of type 'quen3'; did you mean 'qwen3'?" in capsys.readouterr().err
