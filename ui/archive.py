"""A selection of predictions as a ZIP, in the formats of other tools."""

import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import PurePath

from sluice.client import Prediction
from sluice.client.formats import coco
from ui.cards import title

FORMATS = ("COCO", "YOLO", "JSON")


def pack(predictions: Sequence[Prediction], kind: str) -> bytes:
    """The ZIP. Predictions without an output are in the JSON only.

    COCO is one document, `annotations.json`. YOLO has a text file for each image, and
    `classes.txt`. JSON has a file for each prediction, as the interface answers it.
    """
    data = io.BytesIO()
    names = file_names(predictions)
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in _files(dict(zip(names, predictions, strict=True)), kind).items():
            archive.writestr(name, text)
    return data.getvalue()


def _files(predictions: dict[str, Prediction], kind: str) -> dict[str, str]:
    outputs = {
        name: prediction.output for name, prediction in predictions.items() if prediction.output
    }
    if kind == "COCO":
        return {"annotations.json": json.dumps(coco(outputs), indent=1)}
    if kind == "JSON":
        return {
            f"{_stem(name)}.json": json.dumps(prediction.raw, indent=1)
            for name, prediction in predictions.items()
        }
    classes = {
        detection.class_id: detection.class_name
        for output in outputs.values()
        for detection in output.detections
    }
    texts = {f"labels/{_stem(name)}.txt": output.to_yolo() for name, output in outputs.items()}
    lines = (classes.get(number, "") for number in range(max(classes, default=-1) + 1))
    return {**texts, "classes.txt": "".join(f"{line}\n" for line in lines)}


def file_names(predictions: Sequence[Prediction]) -> list[str]:
    """A name for each prediction, without folders; the id follows a name that comes twice."""
    names: list[str] = []
    stems: set[str] = set()
    for prediction in predictions:
        path = PurePath(title(prediction).replace("\\", "/"))
        stem = re.sub(r"[^\w.-]", "_", path.stem) or prediction.id
        if stem in stems:
            stem = f"{stem}-{prediction.id}"
        stems.add(stem)
        names.append(stem + (path.suffix if re.fullmatch(r"\.\w{1,5}", path.suffix) else ".jpg"))
    return names


def _stem(name: str) -> str:
    return PurePath(name).stem
