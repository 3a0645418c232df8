"""The evaluation of the characters demo."""

from __future__ import annotations

from mmgpt.evaluation.character_baseline import CharacterBaseline
from mmgpt.evaluation.character_episodes import NAMING, SHUFFLED, make_episodes
from mmgpt.evaluation.episodes import Episode, EpisodeEvaluation
from mmgpt.registry import TASKS


@TASKS.register_module()
class CharactersEvaluation(EpisodeEvaluation):
    """Asks a model about letters that it was not trained on.

    Naming, counting and the different picture are about letters of scripts that are held out (Armenian, Georgian and
    Greek), in all faces; reading is about letters that were trained on, and words about words that were not, both in a
    face that is held out. The figures are ``naming`` with ``2way``, ``5way``, ``5way_2shot``, ``10way`` and
    ``5way_shuffled``, ``counting``, ``difference``, ``reading`` and ``words``, beside those of the nearest neighbour on
    raw pixels.

    Args:
        episodes: of each kind.
        seed: of the episodes.
        batch_size: episodes that are answered together.
        validation: ask about the letters that are kept for decisions instead, and nothing that is held out.

    Example:
        >>> metrics = CharactersEvaluation(episodes=100)(model, processor, Path('out'))  # doctest: +SKIP
        >>> metrics['naming']['5way'], metrics['baselines']['naming']['5way']  # doctest: +SKIP
        (0.96, {'nearest_neighbour': 0.92})
    """

    shots = {**{name: ways * each for name, (ways, each) in NAMING.items()}, SHUFFLED: 5}

    def __init__(self, episodes: int = 1000, seed: int = 0, batch_size: int = 64, validation: bool = False) -> None:
        super().__init__(episodes, seed, batch_size)
        self.validation = validation

    def tasks(self, size: int) -> dict[str, list[Episode]]:
        """The episodes by the name of their figure."""
        return make_episodes(size, self.seed, self.validation)

    def baselines(self) -> list[CharacterBaseline]:
        """The nearest neighbour."""
        return [CharacterBaseline(self.seed)]
