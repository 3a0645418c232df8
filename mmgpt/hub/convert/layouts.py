"""How the published implementations name their tensors, as data: rules from their names to ours and back.

Ours are ``vision_encoder.tower.``, ``resampler.``, ``language_model.`` and ``gated_blocks.{layer}.``. A rule replaces
the beginning of a name; the first that fits is used. ``{layers}`` stands for the path of the language model's list of
layers (``model.layers``, ``transformer.blocks``, ``gpt_neox.layers``, ``model.decoder.layers``), ``#`` for a number.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Layout(NamedTuple):
    """One published way of naming tensors."""

    name: str
    rules: tuple[tuple[str, str], ...]  # beginning there, beginning here
    ignored: tuple[str, ...]  # regular expressions of names that hold nothing of their own


CONSTANTS = (  # buffers that older versions of the libraries stored
    r'\.rotary_emb\.inv_freq$',
    r'\.attention\.(bias|masked_bias|rotary_emb\..*)$',  # GPT-NeoX: the causal mask
    r'\.embeddings\.position_ids$',  # CLIP
)
ALIASES = (r'^lang_encoder\.(gated_cross_attn_layers|old_decoder_blocks)\.',)  # second names of the same tensors
LANGUAGE_MODEL = (
    ('lang_encoder.{layers}.#.decoder_layer.', 'language_model.{layers}.#.'),
    ('lang_encoder.', 'language_model.'),
)

OPEN_FLAMINGO = Layout(
    'OpenFlamingo',
    (
        ('perceiver.', 'resampler.'),
        ('lang_encoder.{layers}.#.gated_cross_attn_layer.', 'gated_blocks.#.'),
        *LANGUAGE_MODEL,
        ('vision_encoder.', 'vision_encoder.tower.'),
    ),
    ALIASES + CONSTANTS,
)
OTTER = Layout(
    'Otter',
    (
        ('perceiver.layers.#.feed_forward.', 'resampler.layers.#.1.'),
        ('perceiver.layers.#.', 'resampler.layers.#.0.'),
        ('perceiver.', 'resampler.'),
        ('lang_encoder.{layers}.#.gated_cross_attn_layer.feed_forward.', 'gated_blocks.#.ff.'),
        ('lang_encoder.{layers}.#.gated_cross_attn_layer.', 'gated_blocks.#.'),
        *LANGUAGE_MODEL,
        ('vision_encoder.vision_model.', 'vision_encoder.tower.'),
    ),
    ALIASES + CONSTANTS,
)


class Renamer:
    """The names of one layout around one language model.

    Args:
        layout: the published one.
        layers: the path of the language model's list of layers.

    Example:
        >>> names = Renamer(OTTER, 'model.layers')
        >>> names.ours('lang_encoder.model.layers.3.gated_cross_attn_layer.feed_forward.1.weight')
        'gated_blocks.3.ff.1.weight'
        >>> names.theirs('language_model.model.layers.3.mlp.up_proj.weight')
        'lang_encoder.model.layers.3.decoder_layer.mlp.up_proj.weight'
    """

    def __init__(self, layout: Layout, layers: str) -> None:
        self.layout, self.layers = layout, layers
        filled = [(there.replace('{layers}', layers), here.replace('{layers}', layers)) for there, here in layout.rules]
        self._to_ours = [(_pattern(there), here.replace('#', r'\1')) for there, here in filled]
        self._to_theirs = [(_pattern(here), there.replace('#', r'\1')) for there, here in filled]
        self._ignored = re.compile('|'.join(layout.ignored))

    def ours(self, name: str) -> str | None:
        """The name here; None for one that the layout does not have."""
        return _renamed(name, self._to_ours)

    def theirs(self, name: str) -> str | None:
        """The name there; None for one that the layout has no place for."""
        return _renamed(name, self._to_theirs)

    def is_ignored(self, name: str) -> bool:
        """Whether a published name holds nothing of its own."""
        return bool(self._ignored.search(name))


def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(re.escape(beginning).replace(r'\#', r'(\d+)'))


def _renamed(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, replacement in rules:
        if match := pattern.match(name):
            return match.expand(replacement) + name[match.end() :]
    return None
