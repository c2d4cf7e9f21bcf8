"""A run of `sluice submit`: the results that are there, and the images that are left.

A run's folder has `run.json` and `results.jsonl`. A line of `results.jsonl` is one image that has
ended. The same run, begun again, submits what is left, each image under the same idempotency key.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sluice.cli.submission.item import Item, relative
from sluice.client import Client, ServiceError
from sluice.client.calls import Options
from sluice.errors import SluiceError

_TIMEOUT_S = 24 * 3600.0


class RunError(SluiceError):
    """The folder is that of another run."""

    code = "run"


@dataclass(frozen=True)
class Result:
    """One image that has ended, well or not."""

    input: str
    prediction: Mapping[str, Any] | None
    """The prediction as the service gave it; None where the image was refused."""
    error: str | None
    error_code: str | None
    clip: str | None = None
    """The video or folder that the image is a frame of."""
    frame: int | None = None
    """The frame's number in the clip, from 0."""
    time_s: float | None = None
    """The frame's time from the clip's start, if it is known."""

    def is_of(self, names: Set[str]) -> bool:
        """True if the image is one of `names`, or a frame of one."""
        return self.input in names or self.clip in names

    @property
    def succeeded(self) -> bool:
        return self.prediction is not None and self.prediction["status"] == "succeeded"

    @classmethod
    def of_prediction(cls, item: Item, raw: Mapping[str, Any]) -> Self:
        error = raw["error"] or (None if raw["status"] == "succeeded" else raw["status"])
        return cls(item.name, raw, error, raw["error_code"], item.clip, item.frame, item.time_s)

    @classmethod
    def of_problem(cls, item: Item, error: str, code: str | None) -> Self:
        return cls(item.name, None, error, code, item.clip, item.frame, item.time_s)

    def to_json(self) -> str:
        place = {"clip": self.clip, "frame": self.frame, "time_s": self.time_s}
        return json.dumps(
            {
                "input": self.input,
                **(place if self.clip else {}),
                "error": self.error,
                "error_code": self.error_code,
                "prediction": self.prediction,
            },
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, line: str) -> Self:
        return cls(**json.loads(line))


class Run:
    """A run that is kept in `folder`, or nowhere if that is None. One process at a time."""

    def __init__(self, folder: Path | None, options: Options) -> None:
        """Raises RunError where the folder's run has other options. Raises OSError."""
        self.folder = folder
        self.id = uuid.uuid4().hex
        self.done: set[str] = set()
        """The names of the images that have ended."""
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            self._open(folder / "run.json", options)
            self.done = {result.input for result in self.results()}

    def _open(self, path: Path, options: Options) -> None:
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["options"] != options:
                raise RunError(
                    f"{path.parent} has the results of a run with other options; take the options"
                    f" of {path}, or another folder"
                )
            self.id = kept["id"]
            return
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"id": self.id, "options": options}))
        new.rename(path)

    def key(self, item: Item) -> str:
        """The idempotency key of an image: the same whenever the run goes on."""
        return hashlib.sha256(f"{self.id}\0{item.name}".encode()).hexdigest()

    def results(self) -> Iterator[Result]:
        """The results so far. A line that was cut off by a kill is no result."""
        if not self.folder or not (self.folder / "results.jsonl").exists():
            return
        with (self.folder / "results.jsonl").open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield Result.from_json(line)

    def keep(self, results: Iterable[Result]) -> Iterator[Result]:
        """Pass results on, each after it was written."""
        if not self.folder:
            yield from results
            return
        path = self.folder / "results.jsonl"
        _cut_half_line(path)
        with path.open("a", encoding="utf-8") as file:
            for result in results:
                file.write(result.to_json() + "\n")
                file.flush()
                yield result


def submitted(
    client: Client,
    run: Run,
    items: Iterable[Item],
    options: Options,
    concurrency: int,
    *,
    annotate: bool = False,
) -> Iterator[Result]:
    """Submit images, `concurrency` at a time, and yield each at its end.

    With `annotate`, the annotated images lie in the run's folder by then, in `annotated`.

    Raises ServiceError where the service does not answer within the client's time. The same error
    comes where every image would be refused, as for a wrong key.
    """

    def one(item: Item) -> Result:
        if item.problem:
            return Result.of_problem(item, item.problem, "input")
        own: Options = {**options, **item.options, "idempotency_key": run.key(item)}  # type: ignore[typeddict-item]
        try:
            prediction = client.run(item.image, timeout_s=_TIMEOUT_S, **own)
            if annotate and run.folder and prediction.succeeded:
                _save(client.annotated(prediction.id), annotated_path(run.folder, item.name))
            return Result.of_prediction(item, prediction.raw)
        except ServiceError as error:
            if error.status in (None, 401, 403, 429, 502, 503, 504):
                raise
            return Result.of_problem(item, error.message, error.code)
        except OSError as error:
            return Result.of_problem(item, str(error), "input")

    running: set[Future[Result]] = set()
    pool = ThreadPoolExecutor(concurrency, "submit")
    try:
        for item in items:
            running.add(pool.submit(one, item))
            if len(running) >= concurrency:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
    finally:
        # After Ctrl-C, nobody waits for the calls that are under way.
        pool.shutdown(wait=False, cancel_futures=True)


def annotated_path(folder: Path, name: str) -> Path:
    """The place of an item's annotated image in a run's folder."""
    path = folder / "annotated" / relative(name)
    return path.with_name(f"{path.name}.jpg") if path.suffix.lower() != ".jpg" else path


def _save(image: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)


def _cut_half_line(path: Path) -> None:
    """Remove what a kill left behind the last whole line."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        size = file.seek(0, 2)
        while size:
            start = max(0, size - 65_536)
            file.seek(start)
            end = file.read(size - start).rfind(b"\n")
            if end >= 0:
                file.truncate(start + end + 1)
                return
            size = start
        file.truncate(0)
