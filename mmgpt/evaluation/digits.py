"""The evaluation of the digits demo."""

from __future__ import annotations

from mmgpt.data.builders.digit_pictures import load_digit_pictures
from mmgpt.evaluation.digit_baselines import DigitBaseline
from mmgpt.evaluation.digit_episodes import make_episodes
from mmgpt.evaluation.episodes import Episode, EpisodeEvaluation
from mmgpt.registry import TASKS


@TASKS.register_module()
class DigitsEvaluation(EpisodeEvaluation):
    """Asks a model about the 360 held-out digits.

    Its figures are ``reading``, ``counting``, ``comparison``, ``order`` and ``naming`` with ``0``, ``2``, ``4``,
    ``4_shuffled`` and ``5way``, beside those of two methods on raw pixels.

    Args:
        episodes: of each kind; of reading there is one for each picture. Default: 400.
        seed: of the episodes. Default: 0.
        batch_size: episodes that are answered together. Default: 64.

    Example:
        >>> metrics = DigitsEvaluation(episodes=100)(model, processor, Path('out'))  # doctest: +SKIP
        >>> metrics['naming']['4']  # doctest: +SKIP
        0.97
    """

    shots = {'naming/2': 2, 'naming/4': 4, 'naming/4_shuffled': 4, 'naming/5way': 5}

    def tasks(self, size: int) -> dict[str, list[Episode]]:
        """The episodes by the name of their figure."""
        return make_episodes(load_digit_pictures(held_out=True), size, self.seed)

    def baselines(self) -> list[DigitBaseline]:
        """Trained on the pictures that models are trained on."""
        known = load_digit_pictures()
        return [DigitBaseline(known, kind, self.seed) for kind in DigitBaseline.kinds]
