"""LLaVA's conversations (LA), and pairs of pictures: spot the difference (SD), general scene difference (CGD)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mmgpt.data.converters.base import Conversion, member, read_json, sentence, stem
from mmgpt.data.converters.instructions import Group, Question
from mmgpt.data.converters.pictures import Encoder, Pictures, Report, Unit, Written
from mmgpt.data.image_stores import ImageStore
from mmgpt.data.incontext import similar_pairs
from mmgpt.data.sources.llava import Llava


class LlavaInterleaved(Conversion):
    """LLaVA-Instruct-150K on COCO 2017: MIMIC-IT's LA.

    Every round of a conversation is an instruction whose context are the rounds before it. Of complex reasoning both
    files of MIMIC-IT are written, with the same instructions and no contexts yet: the nearest by text and by picture
    need features.

    Args:
        images: the pictures, by the names that the records have.
        conversations: ``conversation_58k.json``.
        reasoning: ``complex_reasoning_77k.json``.
        details: ``detail_23k.json``.
        encoder: see :class:`Conversion`.

    Raises:
        ValueError: no file is given, or one is not in LLaVA's format.
    """

    name, author, width = 'LA', 'LLaVA-Instruct-150K', 6

    def __init__(
        self,
        images: ImageStore,
        conversations: str | Path | None = None,
        reasoning: str | Path | None = None,
        details: str | Path | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder)
        given = {
            'LACONV': (conversations, 'earlier'),
            'LACR_I2I': (reasoning, 'none'),
            'LACR_T2T': (reasoning, 'none'),
            'LADD': (details, 'none'),
        }
        if not any((conversations, reasoning, details)):
            raise ValueError('give at least one of the conversations, the complex reasoning and the details')
        self.images = images
        self.subsets = {
            name: (Llava(path, images, dialogue=relate == 'earlier'), relate)
            for name, (path, relate) in given.items()
            if path
        }

    def units(self) -> Iterator[Unit]:
        """A picture once, however many records show it."""
        seen = set()
        for source, _ in self.subsets.values():
            for key in (_picture(source, index) for index in range(len(source))):
                if key not in seen:
                    seen.add(key)
                    yield self.still(self.images, key, self.image_id(key))

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """See :class:`Conversion`."""
        return {name: _dialogues(source, relate, written) for name, (source, relate) in self.subsets.items()}


def _picture(source: Llava, index: int) -> str:
    sample = source[index]
    if not sample.turns[0].media:
        raise ValueError(f'{source.files[0].path}: the record {sample.id!r} has no picture')
    return sample.turns[0].media[0].frames[0]


def _dialogues(source: Llava, relate: str, written: Mapping[str, Written]) -> Iterator[Group]:
    for index in range(len(source)):
        sample, key = source[index], _picture(source, index)
        if key in written:
            rounds = zip(sample.turns[::2], sample.turns[1::2], strict=True)
            questions = [
                Question(asked.text.strip(), answer.text.strip(), written[key].ids) for asked, answer in rounds
            ]
            yield Group(sample.id, questions, relate)


class SpotTheDifference(Conversion):
    """Spot-the-Diff (Jhamtani and Berg-Kirkpatrick, 2018): MIMIC-IT's SD.

    Args:
        images: ``{img_id}.png`` and ``{img_id}_2.png``, such as the folder ``resized_images``.
        annotations: ``train.json``: a list of ``{"img_id", "sentences"}``.
        encoder: see :class:`Conversion`.
    """

    name, author = 'SD', 'Spot-the-Diff'

    def __init__(self, images: ImageStore, annotations: str | Path, encoder: Encoder | None = None) -> None:
        super().__init__(encoder)
        self.images = images
        self.sentences: dict[str, list[str]] = defaultdict(list)
        for record in read_json(annotations, list, 'a list of {"img_id", "sentences"}'):
            sentences = member(record, 'sentences', list, annotations)
            name = str(member(record, 'img_id', str | int, annotations))
            if not all(isinstance(text, str) for text in sentences):
                raise ValueError(f'{annotations}: {name!r}: "sentences" should be texts, got {str(sentences)[:80]}')
            self.sentences[name] += map(str.strip, sentences)

    def units(self) -> Iterator[Unit]:
        """A pair."""
        for name in self.sentences:
            yield Unit(name, lambda name=name: self._pair(name))

    def _pair(self, name: str) -> Pictures:
        number = f'{int(name):05d}' if name.isdigit() else name
        stills = [
            self.still(self.images, f'{name}{end}.png', self.image_id(f'{number}_{place}'))
            for place, end in ((1, ''), (2, '_2'))
        ]
        return Pictures([item for still in stills for item in still.read().items])

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """One question for a pair, answered by all its sentences."""
        asked = 'What has changed from the first picture to the second?'
        pairs = ((f'SD_{name}', name, sentences) for name, sentences in self.sentences.items() if name in written)
        return {
            self.name: (
                Group(
                    id,
                    [Question(asked, ' '.join(map(sentence, sentences)), written[name].ids)],
                    annotation='\n'.join(sentences),
                )
                for id, name, sentences in pairs
                if any(sentences)
            )
        }


class SceneDifference(Conversion):
    """Pairs of alike COCO pictures: MIMIC-IT's CGD. People described each picture; nobody wrote down the differences.

    Args:
        images: the pictures, by their file names.
        annotations: ``captions_train2017.json``: ``{"images": [{"id", "file_name"}], "annotations": [{"image_id",
            "caption"}]}``.
        pairs: a JSON object from the name of a picture, without its ending, to that of the picture that is most alike.
        features: instead of ``pairs``, a folder of the pictures' features (``tools/extract_features.py``): each
            picture is paired with the one that is most alike by their cosine, as in the published set (of CLIP's
            features), and each pair comes once. Pictures without features or captions are left out.
        encoder: see :class:`Conversion`.

    Raises:
        ValueError: neither pairs nor features are given, or both; or no picture with features has captions.
    """

    name, author, width = 'CGD', 'COCO captions', 6

    def __init__(
        self,
        images: ImageStore,
        annotations: str | Path,
        pairs: str | Path | None = None,
        features: str | Path | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(encoder)
        if (pairs is None) == (features is None):
            raise ValueError('which pictures are alike: give either the pairs or the features of the pictures')
        self.images = images
        read = read_json(annotations, dict, '{"images", "annotations"}')
        files = {
            member(entry, 'id', int | str, annotations): member(entry, 'file_name', str, annotations)
            for entry in member(read, 'images', list, annotations)
        }
        self.files = {stem(name): name for name in files.values()}
        self.captions: dict[str, list[str]] = defaultdict(list)
        for entry in member(read, 'annotations', list, annotations):
            image = member(entry, 'image_id', int | str, annotations)
            if image not in files:
                raise ValueError(f'{annotations}: a caption is of the image {image!r}, which "images" does not have')
            self.captions[stem(files[image])].append(sentence(member(entry, 'caption', str, annotations)))
        if features is None:
            found = read_json(pairs, dict, 'an object from name to name').items()
        else:
            found = similar_pairs(features, lambda key: stem(key) in self.captions)
        self.pairs = {stem(a): stem(_name(b, f'{pairs}: {a!r}')) for a, b in found}
        if features is not None and not self.pairs:
            raise ValueError(f'{features}: has no features of two different pictures that {annotations} describes')

    def units(self) -> Iterator[Unit]:
        """Each picture once."""
        for name in dict.fromkeys(name for pair in self.pairs.items() for name in pair):
            yield Unit(name, lambda name=name: self._picture(name))

    def _picture(self, name: str) -> Pictures:
        if name not in self.files:
            raise FileNotFoundError('it is in the pairs, and not in the annotations')
        if name not in self.captions:
            raise ValueError('it is in the pairs, and has no caption in the annotations')
        return self.still(self.images, self.files[name], self.image_id(name)).read()

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """What each of the two shows, and what people say of both for generating true differences."""
        return {self.name: (self._group(a, b, written) for a, b in self.pairs.items() if a in written and b in written)}

    def _group(self, a: str, b: str, written: Mapping[str, Written]) -> Group:
        ids = [*written[a].ids, *written[b].ids]
        asked = 'What does the first picture show, and what does the second one show instead?'
        answer = f'The first picture: {self.captions[a][0]} The second picture: {self.captions[b][0]}'
        told = '\n'.join(
            f'{place} picture: {text}' for place, name in (('First', a), ('Second', b)) for text in self.captions[name]
        )
        return Group(f'{a}_{b}', [Question(asked, answer, ids)], annotation=told)


def _name(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{where} should be paired with the name of a picture, got {value!r}')
    return value
