"""The images of `sluice submit`: files, folders, patterns, videos, URLs and manifests."""

import glob
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.cli.submission import video
from sluice.cli.submission.frames import FrameFolder, in_order
from sluice.cli.submission.item import Clip, InputError, Item
from sluice.cli.submission.video import Video

SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
)
"""Files of a folder with one of these endings, in any case, are images."""

_URL_SCHEMES = ("http://", "https://")
_MANIFEST_FIELDS = frozenset(("image", "metadata", "priority"))


@dataclass(frozen=True)
class Folders:
    """How a folder's images are taken."""

    are_clips: bool = False
    """True if the images of a folder are the frames of a clip."""
    rate: float | None = None
    """The frames a second of such a clip, if they are known."""


def items(
    inputs: Iterable[str], manifests: Iterable[Path], folders: Folders = Folders()
) -> Iterator[Item | Clip]:
    """Yield each image, video or folder of frames once, in order. Raises InputError.

    A folder gives all images and videos below it, by name. A pattern such as `photos/*.jpg` gives
    what it matches. A manifest has a path or URL a line, or a JSON object with `image`.
    Paths begin at the manifest's folder. No image is read.
    """
    seen: set[str] = set()
    for item in _all(inputs, manifests, folders):
        if item.name not in seen:
            seen.add(item.name)
            yield item


def _all(
    inputs: Iterable[str], manifests: Iterable[Path], folders: Folders
) -> Iterator[Item | Clip]:
    for text in inputs:
        if text.startswith(_URL_SCHEMES):
            yield Item(text, text)
        elif Path(text).is_dir():
            yield from _below(Path(text), folders)
        else:
            yield from _files(text)
    for manifest in manifests:
        yield from _listed(manifest)


def _below(folder: Path, folders: Folders) -> Iterator[Item | Clip]:
    suffixes = SUFFIXES | video.SUFFIXES
    found = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file()
    )
    if not found:
        raise InputError(
            f"no image and no video is in the folder {folder}; images end in .jpg, .png and so on"
        )
    if not folders.are_clips:
        yield from (_file(path, {}) for path in found)
        return
    groups: dict[Path, list[Path]] = {}
    for path in found:
        groups.setdefault(path.parent, []).append(path)
    for parent, paths in groups.items():
        if frames := [path for path in paths if path.suffix.lower() in SUFFIXES]:
            yield FrameFolder(str(parent), in_order(frames), folders.rate)
        yield from (_file(path, {}) for path in paths if path not in frames)


def _files(text: str) -> Iterator[Item | Clip]:
    found: Sequence[Path] = [Path(text)]
    if not found[0].exists():
        # The shell has left a pattern as it is, or the file does not exist.
        found = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207  absolute ones too
        if not found:
            raise InputError(f"no such file: {text}")
    for file in found:
        if file.is_file():
            yield _file(file, {})


def _file(path: Path, options: dict[str, Any]) -> Item | Clip:
    if path.suffix.lower() in video.SUFFIXES:
        return Video(str(path), path, options)
    return Item(str(path), path, options)


def _listed(manifest: Path) -> Iterator[Item | Clip]:
    try:
        lines = manifest.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the manifest {manifest} can't be read: {error}") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            yield _entry(manifest, number, line)


def _entry(manifest: Path, number: int, line: str) -> Item | Clip:
    options: dict[str, Any] = {}
    if line.startswith("{"):
        try:
            options = json.loads(line)
            line = options.pop("image")
        except (ValueError, KeyError):
            raise InputError(
                f'{manifest}, line {number}: write {{"image": "PATH"}} or a path'
            ) from None
        if unknown := options.keys() - _MANIFEST_FIELDS:
            raise InputError(
                f"{manifest}, line {number}: {', '.join(sorted(unknown))} is unknown;"
                f" there is {', '.join(sorted(_MANIFEST_FIELDS))}"
            )
    if line.startswith(_URL_SCHEMES):
        return Item(line, line, options)
    path = manifest.parent / line
    if not path.is_file():
        raise InputError(f"{manifest}, line {number}: no such file: {path}")
    return _file(path, options)
