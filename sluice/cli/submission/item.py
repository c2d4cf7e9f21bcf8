"""One thing to submit: an image, or a frame of a clip."""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Protocol

from sluice.errors import SluiceError

_FRAME = "#frame="


class InputError(SluiceError):
    """An input does not exist, or can't be read."""

    code = "input"


@dataclass(frozen=True)
class Item:
    """One image to submit."""

    name: str
    """The path or URL, which tells one item from another. A frame of a video has its number too."""
    image: Path | str | bytes
    """A file, a URL, or the encoded image."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of this image alone."""
    clip: str | None = None
    """The name of the clip that the image is a frame of."""
    frame: int | None = None
    """The frame's number in the clip, from 0."""
    time_s: float | None = None
    """The frame's time from the clip's start, if it is known."""
    problem: str | None = None
    """The reason for which the item can't be submitted."""


class Clip(Protocol):
    """A video, or a folder of frames."""

    @property
    def name(self) -> str: ...

    def count(self, sampling: "Sampling") -> int:
        """About how many frames are chosen."""

    def items(self, sampling: "Sampling", done: Set[str]) -> Iterator[Item]:
        """Yield the chosen frames in order, without those whose names are in `done`.

        A frame is read when its turn comes. An unreadable part gives an item with a `problem`.
        """

    def timing(self) -> tuple[float, float | None] | None:
        """The frames a second, and the length in seconds if it is known; None without a rate."""


@dataclass(frozen=True)
class Sampling:
    """The choice among the frames of a clip: each `every`-th, or at most `fps` a second."""

    every: int = 1
    fps: float | None = None

    def picker(self) -> Callable[[int, float], bool]:
        """Return a function that says whether a frame is chosen.

        The function is called for each frame in order, with its number and its time in seconds.
        """
        slot = 0

        def picks(number: int, time_s: float) -> bool:
            nonlocal slot
            if self.fps is None:
                return number % self.every == 0
            reached = int(time_s * self.fps + 1e-3)  # times are rounded
            if reached < slot:
                return False
            slot = reached + 1
            return True

        return picks


def frame_item(
    clip: str, name: str, image: Path | bytes, frame: int, time_s: float | None, options: Any
) -> Item:
    """Return a frame as an item, with clip, frame and time in its metadata."""
    place = {"clip": clip, "frame": frame} | ({} if time_s is None else {"time_s": time_s})
    metadata = {**(options.get("metadata") or {}), **place}
    return Item(name, image, {**options, "metadata": metadata}, clip, frame, time_s)


def frame_name(clip: str, number: int) -> str:
    """Return the name of a video's frame."""
    return f"{clip}{_FRAME}{number}"


def relative(name: str) -> PurePath:
    """A path below a folder for an item's name. Different names stay different.

    The frames of `clip.mp4` are in `clip.mp4.frames`.
    """
    clip, separator, number = name.rpartition(_FRAME)
    if separator and number.isdigit():
        return relative(f"{clip}.frames") / f"{int(number):06}.jpg"
    parts = [part for part in PurePath(name.replace("://", "/")).parts if part not in ("/", "..")]
    return PurePath(*[part.replace("?", "_").replace(":", "_") for part in parts])
