"""Questions about videos, judged by a chat model."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, NamedTuple

from PIL import Image

from mmgpt.data.video import VideoReader, evenly_spaced
from mmgpt.evaluation.items import Answer, Item
from mmgpt.evaluation.judge import number_between
from mmgpt.evaluation.tasks.judged import JudgedTask, exchange
from mmgpt.evaluation.tasks.records import Record
from mmgpt.registry import EVALUATION_TASKS
from mmgpt.structures import Medium

RATE = (
    'You rate answers to questions about videos. Reply with one whole number from 0 (wrong) to 100 (means the same as '
    'the truth), and nothing else.'
)


class VideoFrame(NamedTuple):
    """A frame of a video file."""

    path: str
    number: int


@EVALUATION_TASKS.register_module()
class VideoQA(JudgedTask):
    """Questions about videos: MSVD-QA, MSRVTT-QA, ActivityNet-QA; rated from 0 to 100.

    Args:
        records: ``question``, ``answer``, ``video`` (or ``video_name``, ``video_id``: the name of its file).
        videos: the folder of the video files.
        judge: see :class:`JudgedTask`.
        num_frames: so many, evenly spaced, of each video.
        ending: of the files, where records name them without.
        name: of the data set: 'msvd_qa', 'msrvtt_qa', 'activitynet_qa' or another.
    """

    name = 'video_qa'
    where = 'the data set of the same name; its videos are fetched by the lists of its authors'
    parse = staticmethod(number_between(0, 100))
    highest = 100.0
    kinds = ('type',)

    def __init__(
        self,
        records: str,
        videos: str,
        judge: dict[str, Any] | None = None,
        num_frames: int = 8,
        ending: str = '.mp4',
        name: str = 'msvd_qa',
    ) -> None:
        super().__init__(records, videos, judge)
        if num_frames < 1:
            raise ValueError(f'num_frames must be at least 1, got {num_frames}')
        self.num_frames, self.ending, self.name = num_frames, ending, name

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        named = record['video', 'video_name', 'video_id']
        file = str(named) if '.' in str(named) else f'{named}{self.ending}'
        path = self._folder / file
        if not path.is_file():
            raise FileNotFoundError(f'{record.where}: there is no video file {path}')
        return Item(
            id=f'{record.place}:{record.get("id", "question_id", default=file)}',
            question=record.text('question'),
            media=(Medium(tuple(VideoFrame(str(path), number) for number in _numbers(str(path), self.num_frames))),),
            references=str(record['answer']),
            about={'type': record.get('type', 'question_type')},
        )

    def open(self, frame: Hashable) -> Image.Image:
        """See :class:`EvaluationTask`."""
        if not isinstance(frame, VideoFrame):
            return super().open(frame)
        return _reader(frame.path).read(frame.number)

    def conversation(self, item: Item, answer: Answer) -> list[dict[str, Any]]:
        """See :class:`JudgedTask`."""
        return [{'role': 'system', 'content': RATE}, *exchange(item.question, item.references, answer.text)]


@lru_cache(maxsize=4)
def _reader(path: str) -> VideoReader:
    return VideoReader(path)


@lru_cache(maxsize=100_000)
def _numbers(path: str, wanted: int) -> tuple[int, ...]:
    return tuple(evenly_spaced(len(_reader(path)), wanted))
