"""The names of models: one that a person gives, or one made from a file's name."""

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from sluice.errors import RepositoryError
from sluice.models import is_step

_VALID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OTHER = re.compile(r"[^A-Za-z0-9._-]+")


def from_source(source: str) -> str:
    """A valid name from the last part of a path or URL: `My Model (1).onnx` is `My-Model-1`."""
    path = unquote(urlsplit(source).path) if "://" in source else source
    stem = PurePosixPath(path).stem
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return _OTHER.sub("-", plain).strip("._-")[:100] or "model"


def check(name: str) -> str:
    """Return `name`. Raises RepositoryError where it is not valid for a model."""
    if not _VALID.fullmatch(name):
        raise RepositoryError(
            f"{name!r} can't be a model's name; use A-Z, a-z, 0-9, '.', '_' and '-',"
            " at most 100 characters, and begin with a letter or a digit"
        )
    if is_step(name):
        raise RepositoryError(f"{name!r} is a name for a step of an ensemble; choose another one")
    return name
