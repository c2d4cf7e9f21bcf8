"""`sluice models add` and `check`: from what a person types to a version in the repository."""

import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from sluice.cli.model_table import layout_as_it_came
from sluice.cli.model_tools import ModelTools
from sluice.errors import NotFound, RepositoryError, SluiceError
from sluice.models import Anchors, ChannelOrder, Layout, Placement, Recipe, Task
from sluice.repository import build, metadata, naming
from sluice.repository.build import Built, Options
from sluice.repository.config import Engine, Precision
from sluice.repository.description import Description, Overrides
from sluice.repository.download import download, is_url
from sluice.repository.repository import Change, Version

_Choice = TypeVar("_Choice", Task, Layout, Placement, ChannelOrder, Engine, Precision)
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def options(
    *,
    names: str | None,
    task: str | None,
    imgsz: str | None,
    layout: str | None,
    kpt_shape: str | None,
    letterbox: str | None,
    channel_order: str | None,
    pixel_max: int | None,
    anchors: str | None,
    fold: bool,
    precision: str,
    calibrate: Path | None,
    engine: str,
    tensorrt: bool,
    max_batch: int,
    ensemble: bool,
    processes: int,
) -> Options:
    """The options of a file from their texts. Raises RepositoryError, UnsupportedModel."""
    side = _pair(imgsz, "--imgsz", "such as 640, or 480,640 for height and width")
    found = Options(
        overrides=Overrides(
            task=_choice(Task, task, "--task"),
            layout=_choice(Layout, layout, "--layout"),
            names=_names(names),
            imgsz=side,
            kpt_shape=_pair(kpt_shape, "--kpt-shape", "such as 17,3", twice=False),
            letterbox=_choice(Placement, letterbox, "--letterbox"),
            channel_order=_choice(ChannelOrder, channel_order, "--channel-order"),
            pixel_max=pixel_max,
            anchors=_anchors(anchors),
        ),
        fold=fold,
        engine=_choice(Engine, engine, "--engine") or Engine.OPENVINO,
        precision=_choice(Precision, precision, "--precision") or Precision.FP32,
        calibrate=calibrate,
        tensorrt=tensorrt,
        max_batch=max_batch,
        ensemble=ensemble,
        processes=processes,
    )
    found.check()
    return found


@dataclass(frozen=True)
class Request:
    """One file to add."""

    source: str
    """A path or a URL."""
    name: str
    """The model's name."""
    sha256: str | None

    @classmethod
    def each(cls, sources: Sequence[str], name: str | None, sha256: str | None) -> list[Self]:
        """The files among files, URLs and folders. Raises RepositoryError."""
        files = [file for source in sources for file in _files(source)]
        if len(files) > 1 and (name or sha256):
            raise RepositoryError(
                f"--name and --sha256 are for one file, and there are {len(files)};"
                " add them one by one"
            )
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            raise RepositoryError("--sha256 must be 64 digits from 0 to f")
        found: dict[str, Self] = {}
        for file in files:
            if is_url(file) and sha256 is None:
                raise RepositoryError(
                    "a URL needs --sha256, the SHA-256 that its publisher tells,"
                    " since a model is a program"
                )
            request = cls(file, naming.check(name or naming.from_source(file)), sha256)
            if request.name in found:
                raise RepositoryError(
                    f"{found[request.name].source} and {file} would both be {request.name!r};"
                    " add them one by one with --name"
                )
            found[request.name] = request
        return list(found.values())


class Adding:
    """Adds or checks files, one after the other, and tells how it went."""

    def __init__(self, tools: ModelTools, options: Options, *, as_json: bool) -> None:
        self._tools = tools
        self._options = options
        self._as_json = as_json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._failed = False

    def add(self, request: Request, *, version: int | None, keep: int) -> None:
        """Add one file, and tell what became of it."""
        started = time.monotonic()
        repository = self._tools.repository
        with _Told(self, request), tempfile.TemporaryDirectory(prefix="sluice-models-") as folder:
            path = self._fetch(request, Path(folder))
            source = build.source_of(path, self._options)
            if version is None and (same := repository.current(request.name, source)):
                self._tell(request, same, None, started)
                return
            built = self._build(path, Path(folder), source)
            new = Version(
                name=request.name,
                files=built.own_files(),
                source=source,
                render=lambda number: built.render(request.name, number),
                steps=lambda number: built.steps(request.name, number),
            )
            with self._console.status(f"{request.name}: loading …"):
                change = repository.add(new, keep=keep, number=version)
            self._tell(request, change, built, started)

    def check(self, request: Request) -> None:
        """Tell what `add` would do."""
        with _Told(self, request), tempfile.TemporaryDirectory(prefix="sluice-models-") as folder:
            path = self._fetch(request, Path(folder))
            built = self._build(path, Path(folder))
            number = self._tools.repository.next_version(request.name)
            facts = _facts(built.description) | {
                "name": request.name,
                "version": number,
                "folded": built.folded,
                "recipe": built.recipe,
                "config": built.render(request.name, number),
            }
            if self._as_json:
                typer.echo(json.dumps(facts, ensure_ascii=False))
                return
            self._say(f"{request.name} would be version {number}: {_sentence(built)}")
            self._say_notes(built.description.notes)
            typer.echo(facts["config"], nl=False)

    def finish(self) -> None:
        """End the command with status 1 where a file was refused."""
        if self._failed:
            raise typer.Exit(1)

    def refused(self, request: Request, error: SluiceError | OSError) -> None:
        """Tell why a file was refused."""
        self._failed = True
        code = error.code if isinstance(error, SluiceError) else "file"
        message = error.message if isinstance(error, SluiceError) else str(error)
        self._console.print(
            escape(f"error: {request.name} ({request.source}): {message}"), style="bold red"
        )
        if self._as_json:
            problem = {"name": request.name, "error": {"code": code, "message": message}}
            typer.echo(json.dumps(problem, ensure_ascii=False))

    def _fetch(self, request: Request, folder: Path) -> Path:
        if is_url(request.source):
            with self._console.status(f"{request.name}: downloading …"):
                assert request.sha256 is not None
                limit = self._tools.max_download_bytes
                return download(request.source, folder, sha256=request.sha256, max_bytes=limit)
        path = Path(request.source)
        if request.sha256 and build.file_digest(path) != request.sha256.lower():
            raise RepositoryError("the file is not the one that --sha256 names")
        return path

    def _build(self, path: Path, folder: Path, source: str | None = None) -> Built:
        made = folder / "version"
        made.mkdir()
        with self._console.status("reading, folding and proving …"):
            return build.build(path, self._options, made, source)

    def _tell(self, request: Request, change: Change, built: Built | None, started: float) -> None:
        seconds = round(time.monotonic() - started, 3)
        if self._as_json:
            facts: dict[str, Any] = _facts(built.description) if built else {}
            facts |= {"folded": built.folded, "recipe": built.recipe} if built else {}
            facts |= {
                "name": change.name,
                "version": change.version,
                "changed": change.changed,
                "loaded": list(change.loaded),
                "seconds": seconds,
            }
            typer.echo(json.dumps(facts, ensure_ascii=False))
        elif built is None or not change.changed:
            self._say(f"{change.name} is this file already, version {change.version}: no change")
        else:
            self._say(f"{change.name} is version {change.version}: {_sentence(built)}")
            self._say_notes(built.description.notes)
            if change.loaded:
                self._say(f"  live in {', '.join(change.loaded)} after {seconds:.1f} s")
        self._say_notes(self._tools.notes)

    def _say_notes(self, notes: Sequence[str]) -> None:
        for note in notes:
            self._say(f"  {note}")

    def _say(self, text: str) -> None:
        if not self._as_json:
            typer.echo(text)


class _Told:
    """Turns an error of one file into a line; the other files are still added."""

    def __init__(self, adding: Adding, request: Request) -> None:
        self._adding = adding
        self._request = request

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, (SluiceError, OSError)):
            self._adding.refused(self._request, error)
            return True
        return False


def _sentence(built: Built) -> str:
    """A model in a line."""
    description = built.description
    height, width = description.imgsz
    parts = [description.task, f"{len(description.names)} classes", f"{width} x {height}"]
    if layout := layout_as_it_came(description):
        parts.append(layout)
    parts.append("folded" if built.folded else "as it came")
    return ", ".join([*parts, *(["ensemble"] if built.recipe is Recipe.ENSEMBLE else [])])


def _facts(description: Description) -> dict[str, Any]:
    """A model as JSON."""
    return {
        "task": description.task,
        "layout": layout_as_it_came(description),
        "classes": list(description.names),
        "imgsz": list(description.imgsz),
        "batch": description.batch,
        "notes": list(description.notes),
    }


def _files(source: str) -> list[str]:
    """The ONNX files that a source names: itself, or those in a folder."""
    path = Path(source)
    if is_url(source) or not path.is_dir():
        return [source]
    found = sorted(str(file) for file in path.glob("*.[oO][nN][nN][xX]") if file.is_file())
    if not found:
        raise NotFound(f"there is no .onnx file in {source}")
    return found


def _choice(kind: type[_Choice], value: str | None, option: str) -> _Choice | None:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        raise RepositoryError(f"{option} must be one of {', '.join(kind)}, not {value!r}") from None


def _names(text: str | None) -> tuple[str, ...] | None:
    """Names separated by commas, as a JSON list, or by lines in the file of that path."""
    if text is None:
        return None
    if text.lstrip().startswith(("[", "{")):
        names = metadata.parse({"names": text}).names
        if names is None:
            raise RepositoryError('--names must be a,b,c, or ["a", "b"], or a file')
        return names
    if lines := _lines(Path(text)):
        return tuple(line.strip() for line in lines if line.strip())
    parts = (name.strip() for name in text.split(","))
    return metadata.complete_names(dict(enumerate(parts)))


def _lines(path: Path) -> list[str] | None:
    try:
        return path.read_text().splitlines() if path.is_file() else None
    except OSError:  # many names are too long for a path
        return None


def _anchors(text: str | None) -> Anchors | None:
    if text is None:
        return None
    try:
        levels = json.loads(text)
        return tuple(tuple((float(w), float(h)) for w, h in level) for level in levels)
    except (TypeError, ValueError):
        raise RepositoryError(
            "--anchors must be a JSON list with a list of [width, height] for each map"
        ) from None


def _pair(
    text: str | None, option: str, form: str, *, twice: bool = True
) -> tuple[int, int] | None:
    """Two positive numbers; with `twice` one number stands for both."""
    if text is None:
        return None
    try:
        numbers = [int(part) for part in re.split(r"[,x]", text)]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and twice:
        numbers *= 2
    if len(numbers) != 2 or min(numbers) < 1:
        raise RepositoryError(f"{option} must be {form}, not {text!r}")
    return numbers[0], numbers[1]
