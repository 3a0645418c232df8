"""Single frames of video files, decoded with PyAV when they are asked for."""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

from mmgpt.data.image_stores.base import OversizedImage

VIDEO_ENDINGS = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.mpg', '.mpeg', '.m4v')
# of FFmpeg: a playlist in a video's clothes would otherwise make it open the files and addresses that it names
FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,m4v'
UNSOUND = ('avi', 'mpeg', 'mpegts')  # their times and key frames are guessed: a jump may land at another frame
MAX_FRAMES = 2_000_000  # of one file: 18 hours at 30 per second


class BadVideo(OSError):
    """A file is no video that can be read."""


class VideoReader:
    """The frames of a video file by their numbers, in the order of showing.

    The file is walked once without decoding for the times of its frames, since what it says of its length need not be
    true. Frames that are asked for in their order are decoded in one pass; what lies between is jumped over, from one
    key frame to the next, but not in AVI and MPEG files, whose times do not tell where a jump ends. One decoder is
    held, and one frame.

    Args:
        path: the file, or the bytes of one.
        max_pixels: videos with larger frames are refused before they are decoded.

    Raises:
        FileNotFoundError: there is no such file.
        BadVideo: it is no video, or has no frames.
        OversizedImage: its frames are too large.
        ImportError: PyAV is not installed.
    """

    def __init__(self, path: str | Path | bytes, max_pixels: int = 64_000_000) -> None:
        self._data = path if isinstance(path, bytes) else None
        self.path = 'the given video' if isinstance(path, bytes) else Path(path)
        self.max_pixels = max_pixels
        if self._data is None and not self.path.is_file():
            raise FileNotFoundError(f'there is no video file {self.path}')
        self._container = None
        with self._readable():
            self._open()
            self._times, self._jumps = self._walk()
            self._open()  # from its beginning again

    def __len__(self) -> int:
        return len(self._times)

    def read(self, number: int) -> Image.Image:
        """A frame as RGB.

        Raises:
            BadVideo: it cannot be decoded.
        """
        if not 0 <= number < len(self):
            raise BadVideo(f'{self.path} has {len(self)} frames, there is no frame {number}')
        with self._readable():
            if number != self._shown:
                self._picture = self._seek(number)
                self._shown = number
            return self._picture

    def close(self) -> None:
        """Closes the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _open(self) -> None:
        import av

        self.close()
        source = str(self.path) if self._data is None else io.BytesIO(self._data)
        protocols = 'file' if self._data is None else 'none'
        self._container = av.open(source, options={'format_whitelist': FORMATS, 'protocol_whitelist': protocols})
        if not self._container.streams.video:
            raise BadVideo(f'{self.path} has no pictures: it holds no video stream')
        self._stream = self._container.streams.video[0]
        decoder = self._stream.codec_context
        if decoder is None:
            raise BadVideo(f'{self.path} has pictures that nothing here can decode')
        self._check_size(decoder.width, decoder.height)
        decoder.options = {'max_pixels': str(self.max_pixels)}  # what is shown may be larger than what is announced
        self._frames = self._container.decode(self._stream)
        self._next = 0  # the number of the frame that the decoder gives next, at the least
        self._shown: int | None = None

    def _walk(self) -> tuple[list[int], list[int]]:
        """When each frame is shown, and when those that decoding can begin with."""
        times: list[int] = []
        jumps: list[int] = []
        timed = True
        for packet in self._container.demux(self._stream):
            if packet.size == 0 or packet.is_discard:
                continue
            timed = timed and packet.pts is not None
            times.append(packet.pts or 0)
            if packet.is_keyframe:
                jumps.append(packet.pts or 0)
            if len(times) > MAX_FRAMES:
                raise BadVideo(f'{self.path} has more than {MAX_FRAMES} frames: cut it into clips')
        if not times:
            raise BadVideo(f'no frame of the video {self.path} could be read')
        times.sort()
        if not timed or len(set(times)) < len(times) or self._container.format.name in UNSOUND:  # only counting tells
            return list(range(len(times))), []
        return times, sorted(jumps)

    def _seek(self, number: int) -> Image.Image:
        if number < self._next or self._jumps_ahead(self._times[number]):
            self._jump(number)
        frame = self._go_on(number)
        if frame is None:  # the file has more packets than frames, and its end was reached before
            self._open()
            frame = self._go_on(number)
        if frame is None:
            raise BadVideo(f'{self.path}: frame {number} of {len(self)} could not be decoded')
        self._check_size(frame.width, frame.height)
        return upright(frame)

    def _jump(self, number: int) -> None:
        """Goes to a key frame before a frame: the last one, or the one before that, or else the beginning.

        What a file says of its key frames need not be true, so the frame that comes first has to tell where it is.
        """
        last = bisect_right(self._jumps, self._times[number]) - 1
        for jump in reversed(self._jumps[max(0, last - 1) : last + 1]):
            self._container.seek(jump, stream=self._stream)
            frames = self._container.decode(self._stream)
            first = next(frames, None)
            if first is not None and first.pts is not None:
                place = bisect_left(self._times, first.pts)
                if place <= number and self._times[place] == first.pts:
                    self._frames, self._next = chain([first], frames), place
                    return
        self._open()

    def _go_on(self, number: int) -> Any:
        """Decodes up to a frame; the last one where fewer could be decoded than there should be, None at the end."""
        frame = None
        for frame in self._frames:
            timed = self._jumps and frame.pts is not None
            place = bisect_left(self._times, frame.pts) if timed else self._next
            self._next = place + 1
            if place >= number:
                break
        return frame

    def _jumps_ahead(self, wanted: int) -> bool:
        """Whether decoding can go on from a later place than where it stands."""
        if not self._jumps or self._next >= len(self):
            return False
        last = bisect_right(self._jumps, wanted) - 1
        return last >= 0 and self._jumps[last] > self._times[self._next]

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise OversizedImage(f'{self.path} has {width} x {height} pixels, more than max_pixels={self.max_pixels}')

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Names the file in what PyAV says of it."""
        try:
            import av
        except ImportError as error:
            raise ImportError('reading a video file needs PyAV: pip install "mmgpt[video]"') from error
        try:
            yield
        except OversizedImage:
            raise
        except (av.FFmpegError, LookupError, ValueError, ArithmeticError, EOFError) as error:
            raise BadVideo(f'{self.path} is not a video that can be read: {error}') from error


def upright(frame: Any) -> Image.Image:
    """A decoded frame as RGB, turned by quarters as the file says that it is shown: phones film lying down."""
    rotation = getattr(frame, 'rotation', 0)  # PyAV 13 does not tell
    return frame.to_image().rotate(90 * round(rotation / 90), expand=True)


def evenly_spaced(total: int, wanted: int | None) -> list[int]:
    """Indices of at most ``wanted`` of ``total`` frames, the first and the last among them.

    Example:
        >>> evenly_spaced(9, 3), evenly_spaced(9, 1), evenly_spaced(2, 3)
        ([0, 4, 8], [4], [0, 1])
    """
    if wanted is None or total <= wanted:
        return list(range(total))
    if wanted == 1:
        return [total // 2]
    return [round(i * (total - 1) / (wanted - 1)) for i in range(wanted)]
