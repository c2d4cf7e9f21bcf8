"""The images of `sluice submit`: files, folders, patterns, URLs and manifests."""

import glob
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from sluice.errors import SluiceError

SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp")
)
"""Files of a folder with one of these endings, in any case, are images."""

_URL_SCHEMES = ("http://", "https://")
_MANIFEST_FIELDS = frozenset(("image", "metadata", "priority"))


class InputError(SluiceError):
    """An input does not exist, or can't be read."""

    code = "input"


@dataclass(frozen=True)
class Item:
    """One image to submit."""

    name: str
    """The path or URL, which tells one item from another."""
    image: Path | str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of this image alone."""


def items(inputs: Iterable[str], manifests: Iterable[Path]) -> Iterator[Item]:
    """Yield each image once, in order. Raises InputError.

    A folder gives all images below it, by name. A pattern such as `photos/*.jpg` gives what it
    matches. A manifest has a path or URL a line, or a JSON object with `image`.
    Paths begin at the manifest's folder.
    """
    seen: set[str] = set()
    for item in _all(inputs, manifests):
        if item.name not in seen:
            seen.add(item.name)
            yield item


def relative(name: str) -> PurePath:
    """A path below a folder for an image's path or URL. Different names stay different."""
    parts = [part for part in PurePath(name.replace("://", "/")).parts if part not in ("/", "..")]
    return PurePath(*[part.replace("?", "_").replace(":", "_") for part in parts])


def _all(inputs: Iterable[str], manifests: Iterable[Path]) -> Iterator[Item]:
    for text in inputs:
        if text.startswith(_URL_SCHEMES):
            yield Item(text, text)
        else:
            yield from _files(text)
    for manifest in manifests:
        yield from _listed(manifest)


def _files(text: str) -> Iterator[Item]:
    path = Path(text)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(
                f"no image is in the folder {text}; images end in .jpg, .png and so on"
            )
    elif path.exists():
        found = [path]
    else:
        # The shell has left a pattern as it is, or the file does not exist.
        found = sorted(map(Path, glob.glob(text, recursive=True)))  # noqa: PTH207  absolute ones too
        if not found:
            raise InputError(f"no such file: {text}")
    for file in found:
        if file.is_file():
            yield Item(str(file), file)


def _listed(manifest: Path) -> Iterator[Item]:
    try:
        lines = manifest.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the manifest {manifest} can't be read: {error}") from None
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not line.startswith("#"):
            yield _entry(manifest, number, line)


def _entry(manifest: Path, number: int, line: str) -> Item:
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
    return Item(str(path), path, options)
