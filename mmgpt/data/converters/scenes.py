"""Sets of pictures: the rooms of ScanNet (SN) and the albums of VIST (VST)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmgpt.data.converters.base import Conversion, member, read_json, sentence
from mmgpt.data.converters.instructions import Group, Question
from mmgpt.data.converters.pictures import Encoder, Pictures, Report, Unit, Written
from mmgpt.data.image_stores import ImageStore


class IndoorScenes(Conversion):
    """ScanNet v2 with the sentences of ScanRefer: MIMIC-IT's SN.

    Args:
        scans: with a folder ``scene0000_00/color`` of ``000000.jpg`` … for each scan, as ScanNet's reader writes them.
        annotations: ``ScanRefer_filtered_train.json``: a list of ``{"scene_id", "object_name", "description"}``.
        views: pictures of a scene, evenly spaced; the published set has 4.8 K of 0.5 K scenes.
        encoder: see :class:`Conversion`.
    """

    name, author = 'SN', 'ScanRefer'

    def __init__(
        self, scans: str | Path, annotations: str | Path, views: int = 10, encoder: Encoder | None = None
    ) -> None:
        super().__init__(encoder)
        if views < 1:
            raise ValueError(f'views must be at least 1, got {views}')
        self.scans, self.views = Path(scans), views
        self.told: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for record in read_json(annotations, list, 'a list of {"scene_id", "object_name", "description"}'):
            scene, thing, text = (
                member(record, name, str, annotations) for name in ('scene_id', 'object_name', 'description')
            )
            self.told[scene].append((thing.replace('_', ' '), sentence(text)))

    def settings(self) -> dict[str, Any]:
        """See :class:`Conversion`."""
        return {'views': self.views}

    def units(self) -> Iterator[Unit]:
        """A scene."""
        for scene in self.told:
            yield Unit(scene, lambda scene=scene: self._scene(scene))

    def _scene(self, scene: str) -> Pictures:
        folder = self.scans / scene / 'color'
        files = sorted(folder.glob('*.jpg'), key=lambda file: int(file.stem))
        if not files:
            raise FileNotFoundError(f'{folder} has no *.jpg')
        count = min(self.views, len(files))
        chosen = [files[place * len(files) // count] for place in range(count)]
        return Pictures(
            [
                (self.image_id(f'{scene}_color_{int(file.stem):06d}'), self.encoder.still(file.read_bytes(), str(file)))
                for file in chosen
            ]
        )

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """Where each thing of a scene is; the other questions about it are the context."""
        return {
            self.name: (
                Group(
                    scene,
                    [Question(f'Where in this room is the {thing}?', text, written[scene].ids) for thing, text in told],
                )
                for scene, told in self.told.items()
                if scene in written
            )
        }


class VisualStories(Conversion):
    """VIST (Huang et al., 2016): MIMIC-IT's VST.

    Args:
        images: the photos by their Flickr id, such as ``1014123.jpg``.
        annotations: ``train.story-in-sequence.json``: ``{"images", "annotations": [[{"story_id", "album_id",
            "photo_flickr_id", "worker_arranged_photo_order", "original_text"}]]}``.
        encoder: see :class:`Conversion`.
    """

    name, author = 'VST', 'VIST'
    ENDINGS = ('jpg', 'png', 'gif', 'jpeg')

    def __init__(self, images: ImageStore, annotations: str | Path, encoder: Encoder | None = None) -> None:
        super().__init__(encoder)
        self.images = images
        read = read_json(annotations, dict, '{"images", "annotations"}')
        lines: dict[tuple[str, str], list[tuple[int, str, str]]] = defaultdict(list)
        for entry in member(read, 'annotations', list, annotations):
            line = entry[0] if isinstance(entry, list) and entry else entry
            album, story, photo, text = (
                str(member(line, name, str | int, annotations))
                for name in ('album_id', 'story_id', 'photo_flickr_id', 'original_text')
            )
            order = int(member(line, 'worker_arranged_photo_order', str | int, annotations))
            lines[album, story].append((order, photo, text))
        self.albums: dict[str, list[list[tuple[str, str]]]] = defaultdict(list)
        for (album, _), story in lines.items():
            self.albums[album].append([(photo, text) for _, photo, text in sorted(story)])

    def units(self) -> Iterator[Unit]:
        """A photo."""
        stories = (story for stories in self.albums.values() for story in stories)
        for photo in dict.fromkeys(photo for story in stories for photo, _ in story):
            yield Unit(photo, lambda photo=photo: self._photo(photo))

    def _photo(self, photo: str) -> Pictures:
        names = (f'{photo}.{ending}' for ending in self.ENDINGS)
        key = next((name for name in names if name in self.images), f'{photo}.jpg')
        return self.still(self.images, key, self.image_id(photo)).read()

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """Stories, the other ones of the album being the context. One of whose photos is gone is left out."""
        return {self.name: self._albums(written, report)}

    def _albums(self, written: Mapping[str, Written], report: Report) -> Iterator[Group]:
        for album, stories in self.albums.items():
            whole = [story for story in stories if all(photo in written for photo, _ in story)]
            if len(whole) < len(stories):
                report.faults[f'album {album}'] = f'{len(stories) - len(whole)} of {len(stories)} stories lack a photo'
            if whole:
                yield Group(album, [self._story(story, written) for story in whole])

    @staticmethod
    def _story(story: list[tuple[str, str]], written: Mapping[str, Written]) -> Question:
        ids = [id for photo, _ in story for id in written[photo].ids]
        return Question('Tell the story of these pictures.', ' '.join(sentence(text) for _, text in story), ids)
