"""Video files in a folder, decoded when their frames are asked for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from PIL import Image

from mmgpt.data.image_stores.base import digest_of
from mmgpt.data.image_stores.folder import FolderImages
from mmgpt.data.picture_bytes import encoded
from mmgpt.data.video import VIDEO_ENDINGS, VideoReader, evenly_spaced
from mmgpt.registry import IMAGE_STORES
from mmgpt.structures import Medium


@IMAGE_STORES.register_module()
class VideoFiles(FolderImages):
    """A folder of video files, and of pictures beside them; keys are paths below it.

    A medium that names ``clip.mp4`` has frames of it, evenly spaced with the first and the last among them; of a
    shorter video all, and the frame mask tells which there are. The key of a frame is ``clip.mp4#12``, its number in
    the order of showing. An instruction may name several videos.

    Args:
        path: the folder.
        num_frames: of a video at most.
        max_pixels: pictures and videos with more pixels are refused.

    Raises:
        NotADirectoryError: there is no such folder.

    Example::

        dict(type='MimicIt', instructions='XX_instructions.json', kind='video',      # "image_ids": ["clip.mp4"]
             images=dict(type='VideoFiles', path='videos', num_frames=8))
    """

    def __init__(self, path: str | Path, num_frames: int = 32, max_pixels: int = 64_000_000) -> None:
        if num_frames < 1:
            raise ValueError(f'num_frames must be at least 1, got {num_frames}')
        super().__init__(path, max_pixels)
        self.num_frames = num_frames
        self._digest: tuple[str, bytes] | None = None  # of the newest video: its frames come one after the other
        self._reader: tuple[int, str, VideoReader] | None = None  # of one process: a decoder cannot be shared

    def expand(self, medium: Medium) -> Medium:
        """See :meth:`ImageStore.expand`."""
        if not any(_is_video(key) for key in medium.frames):
            return medium
        frames: list[Any] = []
        for key in medium.frames:
            if _is_video(key):
                frames += [f'{key}#{number}' for number in evenly_spaced(len(self._video(key)), self.num_frames)]
            else:
                frames.append(key)
        return Medium(tuple(frames))

    def open(self, key: str) -> Image.Image:
        """A picture, or a frame of a video; of a video without a number the first.

        Raises:
            KeyError: there is no such file.
            BadVideo, OversizedImage, ValueError: it cannot be decoded, or is too large.
        """
        video, number = _split(key)
        return super().open(key) if video is None else self._video(video).read(number)

    def read(self, key: str) -> bytes:
        """The file of a picture; a frame of a video as PNG."""
        if _split(key)[0] is None:
            return super().read(key)
        return encoded(self.open(key))

    def digest(self, key: str) -> bytes:
        """See :meth:`ImageStore.digest`; of a frame of a video, the file's content and the number."""
        video, number = _split(key)
        if video is None:
            return digest_of(super().read(key))
        if video not in self:
            self.place(video)  # raises, and names what is near
        if self._digest is None or self._digest[0] != video:
            with (self.path / video).open('rb') as file:
                self._digest = (video, hashlib.file_digest(file, 'sha256').digest())
        return digest_of(b'video', self._digest[1], number.to_bytes(8, 'little'))

    def __contains__(self, key: str) -> bool:
        return super().__contains__(_split(key)[0] or key)

    def _video(self, key: str) -> VideoReader:
        process = os.getpid()
        if self._reader is None or self._reader[:2] != (process, key):
            if key not in self:
                self.place(key)  # raises, and names what is near
            if self._reader is not None and self._reader[0] == process:
                self._reader[2].close()
            self._reader = (process, key, VideoReader(self.path / key, self.max_pixels))
        return self._reader[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_reader': None}


def _is_video(key: Any) -> bool:
    return isinstance(key, str) and key.lower().endswith(VIDEO_ENDINGS)


def _split(key: Any) -> tuple[str | None, int]:
    """The video of a key and the number of its frame; None where it is a picture's."""
    if _is_video(key):
        return key, 0
    video, mark, number = key.rpartition('#') if isinstance(key, str) else ('', '', '')
    return (video, int(number)) if mark and _is_video(video) and number.isdecimal() else (None, 0)
