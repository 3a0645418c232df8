"""The data set of the digits demo: real pictures in exactly the files that the full-size runs read."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from mmgpt.data.builders import digit_instructions, digit_tasks
from mmgpt.data.builders.digit_instructions import text_instructions
from mmgpt.data.builders.digit_pictures import NUM_TRAIN, Digits, load_digit_pictures, png
from mmgpt.data.builders.digit_tasks import NAMES, Task, image_id
from mmgpt.data.builders.made_folder import MADE_BY, MadeFolder, write_json
from mmgpt.data.image_stores.parquet import write_parquet_images
from mmgpt.data.templates import MultiModalGPT, Otter, Template
from mmgpt.registry import BUILDERS
from mmgpt.structures import Medium, Turn

META = {'version': '1', 'time': '1998-07', 'author': 'E. Alpaydin, C. Kaynak: optdigits, UCI'}


TASKS = ('READ', 'CONV', 'CMP', 'VID', 'COUNT', 'TXT', 'NAME', 'SMALL', 'SPELL', 'TALK')
TEXT_INSTRUCTIONS = 'text_instructions.json'  # in Alpaca's format
VERSION = 4  # of what the arguments make; a new one makes folders anew


@BUILDERS.register_module()
class DigitsBuilder(MadeFolder):
    """Writes the digits demo as MIMIC-IT files, with a sentencepiece tokenizer trained on its own text.

    ::

        folder/DG.parquet               all pictures: digits 0000 to 1436 of optdigits, and composed ones
        folder/XX_instructions.json     the records of a task: READ CONV CMP VID COUNT TXT NAME, and for the second
                                        demo, which tunes the first one's model: SMALL SPELL TALK
        folder/XX_train.json            its ids to train on, each with its context
        folder/text_instructions.json   instructions without a picture, in Alpaca's format
        folder/tokenizer/               a LLaMA tokenizer
        folder/names.json               the made-up names
        folder/made_by.json             the arguments of this builder

    Its content depends on the arguments alone. The held-out pictures are not in it.

    Args:
        folder: where to write. Default: ``'data/otter_demo'``.
        seed: of everything that is drawn.
        episodes: number of in-context naming episodes.
        size: number of comparisons, of videos and of composed pictures each.
        held_back: so many of the last training pictures are left out, for decisions that those that are held out
            shall not take part in.
        whole_contexts: a naming question about a picture of its context keeps that picture's name in the context. With
            it naming is learnt sooner and for more seeds; the demos' schedules are made for data without it.

    Example:
        >>> DigitsBuilder('data/otter_demo').build()  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | Path = 'data/otter_demo',
        seed: int = 0,
        episodes: int = 20_000,
        size: int = 8_000,
        held_back: int = 0,
        whole_contexts: bool = False,
    ) -> None:
        if episodes < 1 or size < 1:
            raise ValueError(f'episodes and size must be at least 1, got {episodes} and {size}')
        if not 0 <= held_back < NUM_TRAIN // 2:
            raise ValueError(f'held_back must be at least 0 and below {NUM_TRAIN // 2}, got {held_back}')
        super().__init__(folder)
        self.seed = seed
        self.episodes = episodes
        self.size = size
        self.held_back = held_back
        self.whole_contexts = whole_contexts

    def files(self) -> list[Path]:
        """What the folder holds when it is built."""
        names = [f'{task}_{part}.json' for task in TASKS for part in ('instructions', 'train')]
        return [
            self.folder / name for name in (*names, TEXT_INSTRUCTIONS, 'DG.parquet', 'names.json', 'tokenizer', MADE_BY)
        ]

    def _write(self, folder: Path) -> None:
        digits = load_digit_pictures()
        kept = slice(len(digits.pictures) - self.held_back)
        digits = Digits(digits.pictures[kept], digits.labels[kept])
        images = {image_id(index): picture for index, picture in enumerate(digits.pictures)}
        tasks = self._tasks(digits, images)
        write_parquet_images(folder / 'DG.parquet', ((key, png(picture)) for key, picture in images.items()))
        for task in tasks:
            write_json(folder / f'{task.name}_instructions.json', {'meta': META, 'data': task.records})
            write_json(folder / f'{task.name}_train.json', task.contexts)
        write_json(folder / TEXT_INSTRUCTIONS, [text._asdict() for text in text_instructions()])
        write_json(folder / 'names.json', list(NAMES))
        write_tokenizer(folder / 'tokenizer', _texts(tasks))

    def _arguments(self) -> dict[str, int]:
        arguments = {'version': VERSION, 'seed': self.seed, 'episodes': self.episodes, 'size': self.size}
        changed = {'held_back': self.held_back, 'whole_contexts': self.whole_contexts}
        return arguments | {name: value for name, value in changed.items() if value}

    def _tasks(self, digits: Digits, images: dict[str, Image.Image]) -> list[Task]:
        rngs = map(np.random.default_rng, np.random.SeedSequence(self.seed).spawn(9))
        return [
            digit_tasks.reading(digits, next(rngs)),
            digit_tasks.dialogue(digits, next(rngs)),
            digit_tasks.comparison(digits, next(rngs), self.size),
            digit_tasks.video(digits, next(rngs), self.size),
            digit_tasks.counting(digits, next(rngs), self.size, images.__setitem__),
            digit_tasks.text_only(next(rngs)),
            digit_tasks.naming(digits, next(rngs), self.episodes, self.whole_contexts),
            digit_instructions.smaller(digits, next(rngs), self.size),
            digit_instructions.spelling(digits),
            digit_instructions.talks(digits, next(rngs), self.size),
        ]


def write_tokenizer(folder: Path, texts: Iterable[str], vocab_size: int = 1000) -> None:
    """Trains a small sentencepiece model on texts and writes it as a LLaMA tokenizer.

    Pieces may span words, so that a question that occurs often is few tokens; bytes cover what the texts do not hold.

    Args:
        folder: to write, with ``tokenizer.model`` and ``tokenizer_config.json``.
        texts: without special tokens.
        vocab_size: pieces at most; every character of the texts is one.
    """
    import sentencepiece
    from transformers import LlamaTokenizer

    folder.mkdir(parents=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type='bpe',
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        split_by_whitespace=False,
        split_by_unicode_script=False,
        split_digits=True,  # as LLaMA's: a number is read by its digits
        max_sentencepiece_length=64,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name='identity',
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        num_threads=1,
        minloglevel=2,
    )
    (folder / 'tokenizer.model').write_bytes(model.getvalue())
    config = {'tokenizer_class': 'LlamaTokenizer', 'legacy': False, 'model_max_length': 512}
    write_json(folder / 'tokenizer_config.json', config)
    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)


def _texts(tasks: Iterable[Task]) -> Iterator[str]:
    """What stands between special tokens and line ends, in both demos' templates, and names all alike often."""
    formats = [(Otter(), 1), (MultiModalGPT(), 3)]  # and of how many records one is shown
    for task in tasks:
        records = [*task.records.values()][:5000] if task.name == 'NAME' else task.records.values()
        for number, record in enumerate(records):
            for template, every in formats:
                if number % every == 0:
                    yield from lines(template, record['instruction'], record['answer'])
    for text in text_instructions():
        for _ in range(20):
            yield from lines(MultiModalGPT(), text.instruction, text.output, text.input)
    yield from NAMES * 400


def lines(template: Template, question: str, answer: str, input: str = '') -> list[str]:
    """What stands between special tokens and line ends when a template asks and answers with a picture."""
    medium = Medium(('picture',))  # for its heading
    text = template.render([Turn('user', question, (medium,), input), Turn('assistant', answer)]).text
    for mark in sorted(template.special_tokens, key=len):
        text = text.replace(mark, '\n')
    return [line for line in text.split('\n') if line]
