"""The files of a run: CSV, a COCO document, and YOLO's label files."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from sluice.cli.submission.item import relative
from sluice.cli.submission.run import Result
from sluice.client.formats import coco
from sluice.client.results import Output

_FRAME_COLUMNS = ("clip", "frame", "time_s")
"""The last columns, empty unless the image is a frame."""
_COLUMNS = (
    "input",
    "class",
    "class_id",
    "confidence",
    "x",
    "y",
    "width",
    "height",
)


class Format(StrEnum):
    """The form of the results, besides JSON lines."""

    CSV = "csv"
    COCO = "coco"
    YOLO = "yolo"


def write(kind: Format, folder: Path, results: Iterable[Result]) -> Path:
    """Write the succeeded results in a format into the run's folder. Return the file or folder."""
    return _WRITERS[kind](folder, (result for result in results if result.succeeded))


def _output(result: Result) -> Output:
    assert result.prediction is not None
    return Output.from_json(result.prediction["output"])


def _outputs(results: Iterable[Result]) -> Iterable[tuple[str, Output]]:
    return ((result.input, _output(result)) for result in results)


def _write_csv(folder: Path, results: Iterable[Result]) -> Path:
    """A line for each detection, or each class of a classifier."""
    path = folder / "results.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*_COLUMNS, *_FRAME_COLUMNS])
        for result in results:
            place = [result.clip, result.frame, result.time_s]
            for entry in _output(result).raw["predictions"]:
                values = [entry.get(column, "") for column in _COLUMNS[1:]]
                rows.writerow([result.input, *values, *place])
    return path


def _write_coco(folder: Path, results: Iterable[Result]) -> Path:
    path = folder / "coco.json"
    path.write_text(json.dumps(coco(dict(_outputs(results))), ensure_ascii=False), encoding="utf-8")
    return path


def _write_yolo(folder: Path, results: Iterable[Result]) -> Path:
    """A file for each image, with the names of the classes in `classes.txt`."""
    labels = folder / "labels"
    names: dict[int, str] = {}
    taken: set[Path] = set()
    for name, output in _outputs(results):
        image = labels / relative(name)
        path = image.with_suffix(".txt")
        if path in taken:  # two images differ in their endings alone
            path = image.with_name(image.name + ".txt")
        taken.add(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(output.to_yolo())
        names |= {entry.class_id: entry.class_name for entry in output.detections}
    labels.mkdir(exist_ok=True)
    lines = [names.get(class_id, str(class_id)) for class_id in range(max(names, default=-1) + 1)]
    (labels / "classes.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return labels


_Writer = Callable[[Path, Iterable[Result]], Path]
_WRITERS: Mapping[Format, _Writer] = {
    Format.CSV: _write_csv,
    Format.COCO: _write_coco,
    Format.YOLO: _write_yolo,
}
