"""What methods without a neural network make of the digits demo's episodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmgpt.data.builders.digit_pictures import MAX_COUNT, Digits, compose_picture
from mmgpt.data.builders.digit_tasks import NAMES, larger_answer
from mmgpt.evaluation.episodes import Episode


def pixels(pictures: Sequence[Image.Image], side: int = 8) -> np.ndarray:
    """(N, side * side) float64 from 0 to 16, the scale of the data set."""
    resized = [picture if picture.size == (side, side) else picture.resize((side, side)) for picture in pictures]
    return np.stack([np.asarray(picture, dtype=np.float64).ravel() * 16 / 255 for picture in resized])


class DigitBaseline:
    """Reads digits with one classifier on raw pixels, counts with another, and answers every task from that.

    Args:
        digits: the training pictures.
        kind: 'nearest_neighbour', or 'svm' (RBF kernel; on naming it reads, then binds the name that the context gives
            to the digit read; where it gives none, to the nearest demonstration).
        seed: of the composed pictures that counting is trained on.
        composed: how many of them.
    """

    kinds = ('nearest_neighbour', 'svm')

    def __init__(self, digits: Digits, kind: str, seed: int = 0, composed: int = 1500) -> None:
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.svm import SVC

        if kind not in self.kinds:
            raise ValueError(f'kind must be one of {self.kinds}, got {kind!r}')
        self.kind = kind
        svm = kind == 'svm'
        self._reader = SVC(gamma=0.001, C=10) if svm else KNeighborsClassifier(1)
        self._reader.fit(pixels(digits.pictures), digits.labels)
        rng = np.random.default_rng(seed)
        counts = rng.integers(1, MAX_COUNT + 1, composed)
        drawn = [[digits.pictures[i] for i in rng.permutation(len(digits.pictures))[:count]] for count in counts]
        self._counter = SVC(C=10) if svm else KNeighborsClassifier(1)
        self._counter.fit(pixels([compose_picture(shown, rng) for shown in drawn], side=16), counts)

    def accuracy(self, task: str, episodes: Sequence[Episode]) -> float:
        """The fraction of episodes that it answers rightly."""
        answers = self.answers(task, episodes)
        return float(np.mean([given == episode.expected for given, episode in zip(answers, episodes, strict=True)]))

    def answers(self, task: str, episodes: Sequence[Episode]) -> list[str]:
        """Its answers to the episodes of a task."""
        if task == 'counting':
            found = self._counter.predict(pixels([episode.pictures[0] for episode in episodes], side=16))
            return [str(count) for count in found]
        if task.startswith('naming/'):
            return [self._name(episode) for episode in episodes]
        read = self._read([episode.pictures[-1] for episode in episodes])
        if task == 'comparison':
            first = self._read([episode.pictures[0] for episode in episodes])
            return [larger_answer(a, b) for a, b in zip(first, read, strict=True)]
        return [str(digit) for digit in read]

    def _read(self, pictures: Sequence[Image.Image]) -> list[int]:
        return [int(digit) for digit in self._reader.predict(pixels(pictures))]

    def _name(self, episode: Episode) -> str:
        if not episode.demonstrations:
            return NAMES[0]
        shown, names = zip(*episode.demonstrations, strict=True)
        if self.kind == 'svm':
            *read, asked = self._read([*shown, episode.pictures[0]])
            if asked in read:
                return names[read.index(asked)]
        distances = np.linalg.norm(pixels(shown) - pixels(episode.pictures), axis=1)
        return names[int(distances.argmin())]
