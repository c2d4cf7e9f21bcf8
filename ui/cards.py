"""A past prediction as a card: a small picture, and a few facts."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape

from sluice.client import Prediction
from sluice.client.results import Detection, Output
from ui.markup import button, table, text_of, time_of

_THUMB_PIXELS = 360
_MAX_DRAWN = 200
_COLORS = ("#0d9488", "#b45309", "#7c3aed", "#be123c", "#1d4ed8", "#4d7c0f")


def title(prediction: Prediction) -> str:
    """The name of the file, where the metadata has one, else the id."""
    return str(prediction.metadata.get("name") or prediction.id)


def gallery(predictions: Sequence[Prediction], pictures: Mapping[str, bytes]) -> str:
    """The cards as HTML. `pictures`: annotated images by the prediction's id, where there are."""
    drawn = (card(entry, pictures.get(entry.id)) for entry in predictions)
    return f'<div class="cards">{"".join(drawn)}</div>'


def card(prediction: Prediction, picture: bytes | None) -> str:
    """The card as HTML, with a box to mark it and a button to open it.

    `picture`: the annotated image, where there is one.
    """
    id_, name = escape(prediction.id), escape(title(prediction))
    facts = f"{prediction.model} · {time_of(prediction.created_at)}"
    if owner := prediction.raw.get("key_name"):
        facts += f" · {owner}"
    return (
        f'<div class="card">{image(prediction, picture)}'
        f'<div class="name">{name}</div>'
        f'<div><span class="status {prediction.status}">{prediction.status}</span>'
        f" {escape(summary(prediction))}</div><small>{escape(facts)}</small>"
        f'<label><input type="checkbox" value="{id_}"> Select {name}</label>'
        f"{button(prediction.id, f'Open {title(prediction)}')}</div>"
    )


def summary(prediction: Prediction) -> str:
    """The result in a few words."""
    output = prediction.output
    if output is None:
        return prediction.error or ""
    if output.scores:
        return f"{output.scores[0].class_name} {output.scores[0].confidence:.2f}"
    count = len(output.detections)
    return f"{count} detection{'' if count == 1 else 's'}"


def image(prediction: Prediction, picture: bytes | None) -> str:
    """The annotated image, made small; else a sketch of the boxes, since no image is kept."""
    words = f"{title(prediction)}: {summary(prediction) or prediction.status}"
    if picture and (small := thumbnail(picture)):
        source = f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
        return f'<img src="{source}" alt="{escape(words)}">'
    return sketch(prediction.output, words)


def thumbnail(picture: bytes) -> bytes | None:
    """A JPEG of at most 360 pixels a side; None where the bytes are no image."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # in the page's environment

    try:
        with Image.open(io.BytesIO(picture)) as opened:
            small = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    small.thumbnail((_THUMB_PIXELS, _THUMB_PIXELS))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=80)
    return data.getvalue()


def sketch(output: Output | None, words: str) -> str:
    """The boxes alone, on an empty picture of the image's shape."""
    width, height = (output.width, output.height) if output else (4, 3)
    boxes = "".join(map(_box, output.detections[:_MAX_DRAWN])) if output else ""
    return (
        f'<svg class="sketch" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{escape(words)}">{boxes}</svg>'
    )


def _box(detection: Detection) -> str:
    left, top, _, _ = detection.xyxy
    color = _COLORS[detection.class_id % len(_COLORS)]
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{detection.width:.1f}"'
        f' height="{detection.height:.1f}" fill="{color}" fill-opacity="0.25" stroke="{color}"'
        ' stroke-width="2" vector-effect="non-scaling-stroke"/>'
    )


def details(prediction: Prediction, picture: bytes | None) -> str:
    """An opened prediction: picture, facts and detections."""
    facts: list[list[object]] = [
        ["id", prediction.id],
        ["status", prediction.status],
        ["model", prediction.model],
        ["submitted", time_of(prediction.created_at)],
        ["ended", time_of(prediction.completed_at)],
        ["error", prediction.error],
        ["parameters", json.dumps(prediction.raw["input"])],
        ["metadata", json.dumps(prediction.metadata)],
        ["log", prediction.raw["logs"]],
    ]
    shown = [row for row in facts if row[1]]
    parts = [image(prediction, picture), table("The prediction", ["field", "value"], shown)]
    if prediction.output and prediction.output.detections:
        rows: list[list[object]] = [
            [
                detection.class_name,
                round(detection.confidence, 3),
                *(text_of(value) for value in (detection.x, detection.y)),
                *(text_of(value) for value in (detection.width, detection.height)),
            ]
            for detection in prediction.output.detections[:_MAX_DRAWN]
        ]
        head = ["class", "confidence", "x", "y", "width", "height"]
        parts.append(table("Detections, in pixels", head, rows))
    return f'<div class="details">{"".join(parts)}</div>'
