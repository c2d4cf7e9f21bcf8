"""Small videos, made by OpenCV."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

_ROTATED = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)


def pictures(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[npt.NDArray[np.uint8]]:
    """Grey pictures of (width, height); the picture n has the value 10 + 8 n, up to 250."""
    for number in range(count):
        yield np.full((size[1], size[0], 3), min(250, 10 + 8 * number), np.uint8)


def write(
    path: Path, count: int, fps: float = 25.0, size: tuple[int, int] = (64, 48), code: str = "mp4v"
) -> Path:
    """Write `pictures` as a video."""
    fourcc = cv2.VideoWriter.fourcc(*code)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, size)
    assert writer.isOpened()
    for picture in pictures(count, size):
        writer.write(picture)
    writer.release()
    return path


def write_at(path: Path, times_ms: Sequence[int]) -> Path:
    """Write `pictures` as a video, each at its time: a varying frame rate. `path` ends in .mkv."""
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 1000.0, (64, 48),
        [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1, cv2.VIDEOWRITER_PROP_KEY_INTERVAL, 1],
    )  # fmt: skip
    for picture, time_ms in zip(pictures(len(times_ms)), times_ms, strict=True):
        writer.set(cv2.VIDEOWRITER_PROP_PTS, time_ms)
        writer.write(cv2.imencode(".jpg", picture)[1].reshape(1, -1))
    writer.release()
    return path


def rotate(path: Path) -> Path:
    """Let an MP4 say that it is to be shown turned by 90 degrees."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")
    matrix = b"".join(value.to_bytes(4, "big", signed=True) for value in _ROTATED)
    start = header + 4 + 40  # version and flags, and ten words, stand before the matrix
    data[start : start + len(matrix)] = matrix
    path.write_bytes(data)
    return path


def shown(path: Path) -> tuple[float, list[npt.NDArray[np.uint8]]]:
    """Return the frames a second, and all frames."""
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while True:
        good, frame = reader.read()
        if not good:
            return float(reader.get(cv2.CAP_PROP_FPS)), frames
        frames.append(np.asarray(frame, np.uint8))
