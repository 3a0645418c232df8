"""What the nearest neighbour on raw pixels makes of the characters demo's episodes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from PIL import Image

from mmgpt.data.builders.character_pictures import SIDE, TRAINED_FACES, draw_letter, draw_word, trained_letters
from mmgpt.data.builders.character_tasks import PLACES, words
from mmgpt.evaluation.character_episodes import draw_counted
from mmgpt.evaluation.episodes import Episode

THIRDS = (slice(0, 11), slice(11, 21), slice(21, SIDE))  # columns of a word's picture


def pixels(pictures: Sequence[Image.Image]) -> np.ndarray:
    """(N, 32, 32) float32 from 0 to 1, resized as the model's pictures are."""
    resized = [picture if picture.size == (SIDE, SIDE) else picture.resize((SIDE, SIDE)) for picture in pictures]
    return np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in resized])


def distances(queries: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(N, K) squared Euclidean distances of pictures (N, …) and (K, …)."""
    a, b = queries.reshape(len(queries), -1), known.reshape(len(known), -1)
    return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T


class CharacterBaseline:
    """Answers as the most similar known picture has it, by Euclidean distance.

    Names are those of the nearest demonstration; the picture that differs is the one farthest from the two others;
    a letter is that of the nearest picture trained on, a count that of the nearest of ``known`` scattered pictures.
    A word is read by its thirds, each the letter of the nearest third at its place in ``known`` words.

    Args:
        seed: of the pictures that are drawn.
        known: scattered pictures, and words.
    """

    kind = 'nearest_neighbour'

    def __init__(self, seed: int = 0, known: int = 2000) -> None:
        if known < 1:
            raise ValueError(f'known must be at least 1, got {known}')
        self.seed = seed
        self.known = known

    def accuracy(self, task: str, episodes: Sequence[Episode]) -> float:
        """The fraction of episodes that it answers rightly."""
        answers = self.answers(task, episodes)
        return float(np.mean([given == episode.expected for given, episode in zip(answers, episodes, strict=True)]))

    def answers(self, task: str, episodes: Sequence[Episode]) -> list[str]:
        """Its answers to the episodes of a task."""
        if task.startswith('naming/'):
            return [self._name(episode) for episode in episodes]
        if task == 'difference':
            return [self._different(episode) for episode in episodes]
        asked = pixels([episode.pictures[0] for episode in episodes])
        rng = np.random.default_rng(self.seed)
        if task == 'words':
            known = words()
            said = [known[i] for i in rng.integers(len(known), size=self.known)]
            shown = pixels([draw_word(word, int(rng.choice(TRAINED_FACES))) for word in said])
            nearest = [distances(asked[..., third], shown[..., third]).argmin(1) for third in THIRDS]
            return [''.join(said[i][place] for place, i in enumerate(row)) for row in zip(*nearest, strict=True)]
        if task == 'counting':
            letters = trained_letters()
            pictures, labels = zip(*(draw_counted(letters, TRAINED_FACES, rng) for _ in range(self.known)), strict=True)
        else:
            keys = list(product(trained_letters(), TRAINED_FACES))
            pictures, labels = [draw_letter(*key) for key in keys], [letter for letter, _ in keys]
        return [str(labels[i]) for i in distances(asked, pixels(pictures)).argmin(1)]

    @staticmethod
    def _name(episode: Episode) -> str:
        shown, names = zip(*episode.demonstrations, strict=True)
        return names[int(distances(pixels(episode.pictures), pixels(shown))[0].argmin())]

    @staticmethod
    def _different(episode: Episode) -> str:
        shown = pixels(episode.pictures)
        return PLACES[int(distances(shown, shown).sum(1).argmax())]
