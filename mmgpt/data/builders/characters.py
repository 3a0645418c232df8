"""The data set of the characters demo: letters in the faces that come with matplotlib, in the full-size runs' files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from mmgpt.data.builders import character_tasks
from mmgpt.data.builders.character_pictures import FACES, TRAINED_FACES, draw_letter, trained_letters
from mmgpt.data.builders.character_tasks import image_id
from mmgpt.data.builders.digit_pictures import png
from mmgpt.data.builders.digit_tasks import NAMES, Task
from mmgpt.data.builders.digits import lines, write_tokenizer
from mmgpt.data.builders.made_folder import MADE_BY, MadeFolder, write_json
from mmgpt.data.image_stores.parquet import write_parquet_images
from mmgpt.data.templates import Otter
from mmgpt.registry import BUILDERS

META = {'version': '1', 'time': '2016', 'author': 'DejaVu fonts team: DejaVu fonts, as matplotlib ships them'}
TASKS = ('READ', 'WORD', 'COUNT', 'SPOT', 'NAME')
VERSION = 2  # of what the arguments make; a new one makes folders anew


@BUILDERS.register_module()
class CharactersBuilder(MadeFolder):
    """Writes the characters demo as MIMIC-IT files, with a sentencepiece tokenizer trained on its own text.

    ::

        folder/CH.parquet               all pictures: letters in eleven faces, words, scattered letters
        folder/XX_instructions.json     the records of a task: READ WORD COUNT SPOT NAME
        folder/XX_train.json            its ids to train on, each with its context
        folder/tokenizer/               a LLaMA tokenizer, in which every letter is a piece
        folder/letters.json             the letters that are trained on
        folder/names.json               the made-up names
        folder/made_by.json             the arguments of this builder

    Its content depends on the arguments and on the faces alone. Nothing of it is in the scripts and in the face that
    are held out, and of the letters of Latin and Cyrillic one of ten is left out for validation.

    Args:
        folder: where to write. Default: ``'data/characters_demo'``.
        seed: of everything that is drawn.
        episodes: number of in-context naming episodes.
        size: number of words, of scattered pictures and of differences each.

    Example:
        >>> CharactersBuilder('data/characters_demo').build()  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path = 'data/characters_demo',
        seed: int = 0,
        episodes: int = 40_000,
        size: int = 8_000,
    ) -> None:
        if episodes < 1 or size < 1:
            raise ValueError(f'episodes and size must be at least 1, got {episodes} and {size}')
        super().__init__(folder)
        self.seed = seed
        self.episodes = episodes
        self.size = size

    def files(self) -> list[Path]:
        """What the folder holds when it is built."""
        names = [f'{task}_{part}.json' for task in TASKS for part in ('instructions', 'train')]
        names += ['CH.parquet', 'letters.json', 'names.json', 'tokenizer', MADE_BY]
        return [self.folder / name for name in names]

    def _arguments(self) -> dict[str, int]:
        return {'version': VERSION, 'seed': self.seed, 'episodes': self.episodes, 'size': self.size}

    def _write(self, folder: Path) -> None:
        letters = trained_letters()
        images = {image_id(*key): draw_letter(*key) for key in product(letters, TRAINED_FACES)}
        tasks = self._tasks(letters, images)
        write_parquet_images(folder / 'CH.parquet', ((key, png(picture)) for key, picture in images.items()))
        for task in tasks:
            write_json(folder / f'{task.name}_instructions.json', {'meta': META, 'data': task.records})
            write_json(folder / f'{task.name}_train.json', task.contexts)
        write_json(folder / 'letters.json', {'letters': letters, 'faces': [FACES[face] for face in TRAINED_FACES]})
        write_json(folder / 'names.json', list(NAMES))
        write_tokenizer(folder / 'tokenizer', _texts(tasks), vocab_size=3000)

    def _tasks(self, letters: str, images: dict[str, Image.Image]) -> list[Task]:
        rngs = map(np.random.default_rng, np.random.SeedSequence(self.seed).spawn(len(TASKS)))
        return [
            character_tasks.reading(letters, next(rngs)),
            character_tasks.word_reading(next(rngs), self.size, images.__setitem__),
            character_tasks.counting(letters, next(rngs), self.size, images.__setitem__),
            character_tasks.difference(letters, next(rngs), self.size),
            character_tasks.naming(letters, next(rngs), self.episodes),
        ]


def _texts(tasks: Iterable[Task]) -> Iterator[str]:
    """What stands between special tokens and line ends; of words and letters no more than each letter."""
    for task in tasks:
        for record in [*task.records.values()][:3000]:
            yield from lines(Otter(), record['instruction'], '' if task.name in ('READ', 'WORD') else record['answer'])
    yield from trained_letters()
    yield from NAMES * 400
