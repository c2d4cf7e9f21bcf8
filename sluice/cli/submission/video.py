"""Videos, decoded and encoded by OpenCV (the extra `video`), one frame at a time."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.cli.submission.item import InputError, Item, Sampling, frame_item, frame_name

SUFFIXES = frozenset(
    (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
)
"""Files with one of these endings, in any case, are videos."""

_JPEG_QUALITY = 95
_USUAL_FPS = 30.0
_HIGHEST_FPS = 240.0
_TAIL_S, _TAIL_PART = 1.0, 0.05
"""A video may end so much earlier than its header says: sound may be longer than pictures."""


@dataclass(frozen=True)
class Video:
    """A video file. Frames are upright: a rotation in the file is applied."""

    name: str
    path: Path
    options: Mapping[str, Any] = field(default_factory=dict)

    def count(self, sampling: Sampling) -> int:
        try:
            with _opened(self.path) as capture:
                frames, length_s = _frames(capture), _length_s(capture)
        except InputError:
            return 1  # the item that tells of the problem
        if sampling.fps is None or length_s is None:
            return math.ceil(frames / sampling.every)
        return min(frames, math.ceil(length_s * sampling.fps))

    def items(self, sampling: Sampling, done: Set[str]) -> Iterator[Item]:
        try:
            with _opened(self.path) as capture:
                yield from self._items(capture, sampling.picker(), done)
        except InputError as error:
            if self.name not in done:
                yield Item(self.name, self.path, clip=self.name, problem=error.message)

    def _items(self, capture: Any, picks: Any, done: Set[str]) -> Iterator[Item]:
        """Raises InputError where the video has no frame, or ends too early."""
        number, time_s = -1, 0.0
        # Frames before a place are decoded, too: a jump may end at another frame.
        while capture.grab():
            number, time_s = number + 1, _time_s(capture, number + 1)
            name = frame_name(self.name, number)
            if picks(number, time_s) and name not in done:
                yield frame_item(
                    self.name, name, _jpeg(capture), number, round(time_s, 4), self.options
                )
        if number < 0:
            raise InputError(f"no frame can be decoded{_codec(capture)}")
        length_s = _length_s(capture)
        if length_s and time_s + max(_TAIL_S, _TAIL_PART * length_s) < length_s:
            raise InputError(
                f"the video can't be read beyond frame {number} at {time_s:.1f} s, and says that"
                f" it has {length_s:.1f} s; the file may be cut off"
            )

    def timing(self) -> tuple[float, float | None] | None:
        try:
            with _opened(self.path) as capture:
                return _fps(capture) or _USUAL_FPS, _length_s(capture)
        except InputError:
            return None


def write_video(path: Path, frames: Sequence[tuple[float, Path]], fps: float, end_s: float) -> None:
    """Write a video of `end_s` seconds from images at their times in seconds, in order.

    Each image stays until the next one. The size is that of the first image, made even.
    The file appears once it is whole. Raises OSError where it can't be written.
    """
    cv2 = _cv2()
    first = _picture(frames[0][1])
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
    part = path.with_name(f".{path.stem}.part.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(part), cv2.CAP_FFMPEG, code, fps, (width, height))
    total, index = max(1, round(end_s * fps)), 0
    picture = first[:height, :width]
    try:
        for number in range(total):
            shown = index
            while index + 1 < len(frames) and frames[index + 1][0] <= (number + 0.5) / fps:
                index += 1
            if index != shown:
                picture = cv2.resize(_picture(frames[index][1]), (first.shape[1], first.shape[0]))
                picture = picture[:height, :width]
            writer.write(picture)
        writer.release()
        with _opened(part) as capture:  # the encoder reports no full disk
            if _frames(capture) < total:
                raise InputError("not all frames are in it")
        part.replace(path)
    except InputError as error:
        raise OSError(f"{path} can't be written: {error.message}") from None
    finally:
        writer.release()
        part.unlink(missing_ok=True)


def _cv2() -> Any:
    # Messages of FFmpeg about broken files say less than ours, and break the progress bar.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2  # noqa: PLC0415  an extra

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A capture of the file. Raises InputError."""
    cv2 = _cv2()
    if not path.is_file() or not path.stat().st_size:
        raise InputError("the video is empty, or no file")
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise InputError(
                "the file can't be opened as a video: the format or the codec is unknown,"
                " or the file is damaged"
            )
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture
    finally:
        capture.release()


def _frames(capture: Any) -> int:
    return max(0, int(capture.get(_cv2().CAP_PROP_FRAME_COUNT)))


def _fps(capture: Any) -> float | None:
    """Frames a second; None where the file tells no usual rate."""
    fps = float(capture.get(_cv2().CAP_PROP_FPS))
    return fps if 0 < fps <= _HIGHEST_FPS else None


def _length_s(capture: Any) -> float | None:
    fps = float(capture.get(_cv2().CAP_PROP_FPS))
    return _frames(capture) / fps if fps > 0 and _frames(capture) else None


def _time_s(capture: Any, number: int) -> float:
    """The time of the grabbed frame: the file's own, since rates may vary."""
    time_s = float(capture.get(_cv2().CAP_PROP_POS_MSEC)) / 1000
    return time_s if time_s > 0 or number == 0 else number / (_fps(capture) or _USUAL_FPS)


def _jpeg(capture: Any) -> bytes:
    """Raises InputError."""
    cv2 = _cv2()
    good, picture = capture.retrieve()
    if not good:
        raise InputError(f"a frame can't be decoded{_codec(capture)}")
    good, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not good:
        raise InputError("a frame is too large for a JPEG")
    return bytes(data)


def _codec(capture: Any) -> str:
    code = int(capture.get(_cv2().CAP_PROP_FOURCC)).to_bytes(4, "little", signed=False)
    text = code.decode("ascii", "replace").strip("\0 ")
    return f"; its codec is {text}" if text.isprintable() and text else ""


def _picture(path: Path) -> Any:
    """Raises InputError."""
    picture = _cv2().imread(str(path), _cv2().IMREAD_COLOR)
    if picture is None:
        raise InputError(f"{path} can't be read")
    return picture
