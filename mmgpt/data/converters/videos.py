"""Videos with captions: ActivityNet (DC), TV shows (TVC) and Ego4D (E4D)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmgpt.data.converters.base import Conversion, member, read_json, sentence
from mmgpt.data.converters.instructions import Group, Question
from mmgpt.data.converters.pictures import Encoder, Pictures, Report, Unit, Written
from mmgpt.data.video import upright

ENDINGS = ('mp4', 'mkv', 'webm', 'avi')
DESCRIBE = 'Describe what happens in the video, in order.'


class DenseCaptions(Conversion):
    """ActivityNet Captions (Krishna et al., 2017): MIMIC-IT's DC.

    Args:
        videos: a folder of ``v_XXXXXXXXXXX.mp4`` (or mkv, webm, avi).
        annotations: ``train.json``: ``{"v_…": {"duration", "timestamps": [[start, end]], "sentences"}}``.
        encoder: see :class:`Conversion`.
    """

    name, author = 'DC', 'ActivityNet Captions'

    def __init__(self, videos: str | Path, annotations: str | Path, encoder: Encoder | None = None) -> None:
        super().__init__(encoder)
        self.videos, self.annotations = Path(videos), annotations
        self.captions = read_json(annotations, dict, 'an object from video to its captions')

    def units(self) -> Iterator[Unit]:
        """A video, one frame a second."""
        for video in self.captions:
            yield Unit(video, lambda video=video: sampled(self, self.videos, video, digits=4))

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """The whole video and each of its events; the other questions about the video are the context."""
        return {self.name: (self._group(video, written[video].ids) for video in self.captions if video in written)}

    def _group(self, video: str, ids: list[str]) -> Group:
        entry, where = self.captions[video], f'{self.annotations}: {video!r}'
        told = member(entry, 'sentences', list, where)
        if not all(isinstance(text, str) for text in told):
            raise ValueError(f'{where}: "sentences" should be texts, got {str(told)[:80]}')
        sentences = [sentence(text) for text in told]
        length = round(member(entry, 'duration', int | float, where))
        questions = [Question(DESCRIBE, ' '.join(sentences), ids)]
        spans = member(entry, 'timestamps', list, where)
        if len(spans) != len(sentences):
            raise ValueError(f'{where}: has {len(spans)} timestamps for {len(sentences)} sentences')
        for span, text in zip(spans, sentences, strict=True):
            start, end = _span(span, f'{where}: an entry of "timestamps"')
            asked = f'What happens from second {round(start)} to second {round(end)} of these {length} seconds?'
            questions.append(Question(asked, text, ids))
        return Group(video, questions, annotation='\n'.join(sentences))


class TvCaptions(Conversion):
    """TV show captions (Lei et al., 2020) on the frames of TVQA at 3 frames a second: MIMIC-IT's TVC.

    Args:
        frames: with ``{show}_frames/{clip}/00001.jpg``, as the archives of TVQA unpack.
        annotations: ``tvc_train_release.jsonl``: lines of ``{"vid_name", "duration", "ts": [start, end], "descs":
            [{"desc"}]}``.
        wanted: frames of a clip; as published it may be a few more.
        encoder: see :class:`Conversion`.
    """

    name, author = 'TVC', 'TVC'

    def __init__(
        self, frames: str | Path, annotations: str | Path, wanted: int = 16, encoder: Encoder | None = None
    ) -> None:
        super().__init__(encoder)
        self.frames, self.wanted = Path(frames), wanted
        self.moments: dict[str, list[tuple[float, float, float, list[str]]]] = defaultdict(list)
        path = Path(annotations)
        if not path.is_file():
            raise FileNotFoundError(f'{path}: there is no such file; it should hold lines of TVC')
        for number, line in enumerate(path.read_text(encoding='utf-8').rstrip('\n').split('\n'), 1):
            where = f'{path}, line {number}'
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f'{where}: is no JSON: {error}') from error
            start, end = _span(member(record, 'ts', list, where), f'{where}: "ts"')
            texts = [sentence(member(told, 'desc', str, where)) for told in member(record, 'descs', list, where)]
            duration = member(record, 'duration', int | float, where)
            self.moments[member(record, 'vid_name', str, where)].append((start, end, duration, texts))

    def settings(self) -> dict[str, Any]:
        """See :class:`Conversion`."""
        return {'wanted': self.wanted}

    def units(self) -> Iterator[Unit]:
        """A clip."""
        folders = {clip_name(folder): folder for folder in sorted(self.frames.glob('*_frames/*')) if folder.is_dir()}
        for clip in self.moments:
            yield Unit(clip, lambda clip=clip: self._clip(clip, folders.get(clip_name_of(clip))))

    def _clip(self, clip: str, folder: Path | None) -> Pictures:
        if folder is None:
            raise FileNotFoundError(f'{self.frames} has no folder *_frames/{clip}')
        files = sorted(file for file in folder.iterdir() if file.suffix == '.jpg')
        stride = max(1, len(files) // self.wanted)
        items = [
            (self.image_id(f'{clip_name(folder)}_{file.stem}'), self.encoder.still(file.read_bytes(), str(file)))
            for file in files[stride // 2 :: stride]
        ]
        return Pictures(items)

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """What people wrote of the moments of a clip; the other questions about it are the context."""
        return {self.name: (self._group(clip, written[clip].ids) for clip in self.moments if clip in written)}

    def _group(self, clip: str, ids: list[str]) -> Group:
        questions = []
        for start, end, length, texts in self.moments[clip]:
            asked = f'What happens from second {round(start)} to second {round(end)} of these {round(length)} seconds?'
            questions += [Question(asked, text, ids) for text in texts]
        return Group(clip, questions)


class EgoNarrations(Conversion):
    """Ego4D's narrations (Grauman et al., 2022): MIMIC-IT's E4D.

    A video is cut into clips of equal length, and what was narrated in one is the answer of its question.

    Args:
        videos: a folder of ``{video uid}.mp4``.
        annotations: ``narration.json``: ``{"videos": {uid: {"narration_pass_1": {"narrations": [{"timestamp_sec",
            "narration_text"}]}, "narration_pass_2": …}}}``.
        seconds: of a clip; the published one has 16 frames.
        encoder: see :class:`Conversion`.
    """

    name, author, width = 'E4D', 'Ego4D', 7

    def __init__(
        self, videos: str | Path, annotations: str | Path, seconds: int = 16, encoder: Encoder | None = None
    ) -> None:
        super().__init__(encoder)
        if seconds < 1:
            raise ValueError(f'seconds must be at least 1, got {seconds}')
        self.videos, self.annotations, self.seconds = Path(videos), annotations, seconds
        read = read_json(annotations, dict, '{"videos": {uid: narrations}}')
        self.narrated = read.get('videos', read)  # the first release had no outer member

    def units(self) -> Iterator[Unit]:
        """A video, one frame a second."""
        for video in self.narrated:
            yield Unit(video, lambda video=video: sampled(self, self.videos, video, digits=8))

    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """A question for each clip and narrator; another narrator's is the context."""
        return {
            self.name: (
                clip for video in self.narrated if video in written for clip in self._clips(video, written[video])
            )
        }

    def _clips(self, video: str, frames: Written) -> Iterator[Group]:
        passes = [self._texts(video, name) for name in ('narration_pass_1', 'narration_pass_2')]
        for clip in sorted({clip for told in passes for clip in told}):
            ids = frames.between(clip * self.seconds, (clip + 1) * self.seconds)
            asked = 'What does the person who wears the camera do?'
            questions = [Question(asked, ' '.join(told[clip]), ids) for told in passes if clip in told]
            yield Group(f'{video}_clip{clip:06d}', questions)

    def _texts(self, video: str, name: str) -> dict[int, list[str]]:
        """What a narrator said in each clip, in order."""
        where = f'{self.annotations}: {video!r}'
        told = self.narrated[video].get(name) or {}
        lines = sorted(
            (member(line, 'timestamp_sec', int | float, where), member(line, 'narration_text', str, where))
            for line in told.get('narrations') or ()
        )
        clips: dict[int, list[str]] = defaultdict(list)
        for second, text in lines:
            if text := narration(text):
                clips[int(second // self.seconds)].append(text)
        return clips


def _span(value: Any, where: str) -> tuple[float, float]:
    """Start and end of an event in seconds."""
    if not (isinstance(value, list) and len(value) == 2 and all(isinstance(time, int | float) for time in value)):
        raise ValueError(f'{where} should be [start, end] in seconds, got {str(value)[:80]}')
    return value[0], value[1]


def narration(text: str) -> str:
    """A narration without Ego4D's marks: ``#C C`` is who wears the camera, ``#unsure`` what could not be told.

    Example:
        >>> narration('#C C picks the #unsure from the table')
        'The camera wearer picks the something from the table.'
    """
    text = re.sub(r'^\s*#\w+\s+', '', text.replace('#unsure', 'something').replace('#Unsure', 'something'))
    return sentence(re.sub(r'\bC\b', 'the camera wearer', text))


def sampled(conversion: Conversion, folder: Path, video: str, digits: int) -> Pictures:
    """The frames of a video, one a second: every ``int(fps)``-th, as the published ones; ids count those that are kept.

    Raises:
        ImportError: PyAV is missing; the message says what to install.
        OSError, ValueError: there is no such file, or it cannot be decoded.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError('reading video files needs PyAV: pip install "mmgpt[video]"') from error

    path = next((file for ending in ENDINGS if (file := folder / f'{video}.{ending}').is_file()), None)
    if path is None:
        raise FileNotFoundError(f'{folder} has no {video}.{ENDINGS[0]}')
    items: list[tuple[str, bytes]] = []
    try:
        with av.open(str(path)) as container:
            rate = float(container.streams.video[0].average_rate or 0) if container.streams.video else 0.0
            if not rate:
                raise ValueError(f'{path} has no video stream, or does not tell its frame rate')
            step = max(1, int(rate))
            for number, frame in enumerate(container.decode(video=0)):
                if number % step == 0:
                    id = conversion.image_id(f'{video}_{len(items):0{digits}d}')
                    items.append((id, conversion.encoder.frame(upright(frame))))
    except av.error.FFmpegError as error:
        raise ValueError(f'{path}: {error}') from error
    return Pictures(items, step / rate)


def clip_name(folder: Path) -> str:
    """The name of a clip's folder, with that of its show in front where it lacks it."""
    show = folder.parent.name.removesuffix('_frames')
    return folder.name if folder.name.startswith(show) else f'{show}_{folder.name}'


def clip_name_of(video: str) -> str:
    """The name of a clip as TVC's annotations have it, in the form of :func:`clip_name`: those of one show lack it."""
    return f'bbt_{video}' if re.match(r's\d+e\d+', video) else video
