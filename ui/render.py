"""HTML of the tab Try. Every text from outside is escaped."""

import base64
import html
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from sluice.client import Detection, Output, Prediction
from ui.run import REFUSED, SENDING, WAITING, Item

_STEPS = ("queued", "processing", "done")
_REACHED = {"starting": 1, "processing": 2, "succeeded": 3}
_WORDS = {
    WAITING: "not submitted yet",
    SENDING: "submitting",
    REFUSED: "refused",
    "starting": "queued",
    "aborted": "too late",
    "succeeded": "done",
}
# The time of each stage has a colour of its own, in this order.
_STAGES = (
    "queue",
    "fetch",
    "decode",
    "letterbox",
    "inference",
    "postprocess",
    "merge",
    "triton",
    "annotate",
)
_TIMES = "&times;"
_THUMBNAIL_BYTES = 3_000_000


def text(value: object) -> str:
    """Escaped for HTML, and for Gradio's templates, which know `$` and `{`."""
    escaped = html.escape(str(value))
    return escaped.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def file_url(path: object) -> str:
    """The address of an uploaded file at Gradio, relative to the page."""
    return text("gradio_api/file=" + quote(str(path)))


def listing(items: Sequence[Item], selected: int | None) -> str:
    """One row for each image, with its way through the queue. The rows are buttons."""
    if not items:
        return ""
    rows = "".join(_row(number, item, number == selected) for number, item in enumerate(items))
    return (
        f'<p class="summary" role="status">{text(summary(items))}</p><ol class="rows">{rows}</ol>'
    )


def summary(items: Sequence[Item]) -> str:
    """One sentence on all images, which screen readers speak when it changes."""
    done = sum(item.state == "succeeded" for item in items)
    ended = sum(item.ended for item in items)
    parts = [f"{done} of {len(items)} done"]
    if others := ended - done:
        parts.append(f"{others} without a result")
    if ended < len(items):
        parts.append(f"{len(items) - ended} on the way")
    return ", ".join(parts) + "."


def _row(number: int, item: Item, selected: bool) -> str:
    state = _WORDS.get(item.state, item.state)
    note = f'<span class="note">{text(item.note)}</span>' if item.note else ""
    return (
        f'<li><button type="button" data-item="{number}" class="row {item.state}"'
        f' aria-pressed="{str(selected).lower()}">{_thumbnail(item)}'
        f'<span class="name">{text(item.name)}</span>{_steps(item)}'
        f'<span class="state"><b>{text(state)}</b> {text(_detail(item))}</span>{note}</button></li>'
    )


def _thumbnail(item: Item) -> str:
    try:
        small = item.path.stat().st_size <= _THUMBNAIL_BYTES
    except OSError:
        small = False
    source = f'<img src="{file_url(item.path)}" alt="" loading="lazy">' if small else ""
    return f'<span class="thumb" aria-hidden="true">{source}</span>'


def _steps(item: Item) -> str:
    """Three marks: queued, processing, done. The row's text says the same in words."""
    reached = _REACHED.get(item.state, 0)
    if item.ended and item.prediction and not reached:
        reached = 2 if item.prediction.started_at else 1
    bad = item.ended and item.state != "succeeded"
    marks = []
    for place, step in enumerate(_STEPS, 1):
        kind = "reached" if place < reached or item.state == "succeeded" else ""
        if place == reached and not item.ended:
            kind = "now"
        marks.append(f'<i class="{kind}">{step}</i>')
    return f'<span class="steps {"bad" if bad else ""}" aria-hidden="true">{"".join(marks)}</span>'


def _detail(item: Item) -> str:
    prediction = item.prediction
    if prediction is None:
        return ""
    if item.state == "starting":
        place = f"place {prediction.queue_position}" if prediction.queue_position else ""
        wait_s = prediction.estimated_wait_s
        wait = f"about {max(wait_s, 0.1):.1f} s to go" if wait_s is not None else ""
        return ", ".join(filter(None, (place, wait)))
    if item.state == "succeeded" and prediction.output:
        seconds = prediction.metrics.get("predict_time", 0.0)
        return f"{_found(prediction.output)}, {seconds * 1000:.0f} ms"
    return ""


def _found(output: Output) -> str:
    if output.scores:
        return f"{output.scores[0].class_name} {output.scores[0].confidence:.0%}"
    count = len(output.detections)
    return f"{count} object{'' if count == 1 else 's'}"


def result(item: Item | None, annotated: bytes | None, problem: str | None = None) -> str:
    """The pictures of one image, its detections, and the time of each stage."""
    if item is None:
        return ""
    if item.prediction is None or item.prediction.output is None:
        reason = problem or item.note or "No result yet."
        return f'<h3>{text(item.name)}</h3><p class="notice" role="alert">{text(reason)}</p>'
    output = item.prediction.output
    notice = f'<p class="notice" role="alert">{text(problem)}</p>' if problem else ""
    return (
        f"<h3>{text(item.name)}</h3>{notice}{_pictures(item, output, annotated)}"
        f"{_scores(output) if output.scores else _detections(output)}{stages(item.prediction)}"
    )


def _pictures(item: Item, output: Output, annotated: bytes | None) -> str:
    size = f"{output.width} {_TIMES} {output.height} pixels"
    drawn = ""
    if annotated:
        kind = "png" if annotated.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(annotated).decode()
        shapes = "".join(_shape(output, detection) for detection in output.detections)
        drawn = (
            '<figure class="annotated"><div class="frame">'
            f'<img src="data:image/{kind};base64,{data}" alt="{text(_described(output))}">'
            f'<svg viewBox="0 0 {output.width} {output.height}" preserveAspectRatio="none"'
            f' aria-hidden="true">{shapes}</svg></div>'
            f"<figcaption>Annotated: {text(_found(output))}</figcaption></figure>"
        )
    return (
        f'<div class="pair"><figure><div class="frame"><img src="{file_url(item.path)}"'
        f' alt="The original image {text(item.name)}"></div>'
        f"<figcaption>Original: {size}</figcaption></figure>{drawn}</div>"
    )


def _described(output: Output) -> str:
    names = sorted({detection.class_name for detection in output.detections})
    return f"The annotated image: {_found(output)}" + (f" ({', '.join(names)})" if names else "")


def _shape(output: Output, detection: Detection) -> str:
    """A veil over the image with a hole for the detection, shown while its row is selected."""
    left, top, right, bottom = detection.xyxy
    corners = detection.points or ((left, top), (right, top), (right, bottom), (left, bottom))
    hole = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "Z"
    veil = f"M0 0H{output.width}V{output.height}H0Z{hole}"
    return (
        f'<g data-shape="{text(detection.id)}"><path class="veil" fill-rule="evenodd" d="{veil}"/>'
        f'<path class="edge" d="{hole}"/></g>'
    )


def _detections(output: Output) -> str:
    if not output.detections:
        return '<p class="notice">No object was found. A lower confidence finds more.</p>'
    rows = "".join(
        f'<tr data-row="{text(d.id)}"><td><button type="button" aria-pressed="false">'
        f"{text(d.class_name)}</button></td><td>{d.confidence:.1%}</td>"
        f"<td>{d.x:.0f}, {d.y:.0f}</td><td>{d.width:.0f} {_TIMES} {d.height:.0f}</td></tr>"
        for d in output.detections
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Detections"><table>'
        "<caption>Detections. Select one to see it in the image.</caption>"
        '<thead><tr><th scope="col">class</th><th scope="col">confidence</th>'
        '<th scope="col">center</th><th scope="col">size</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _scores(output: Output) -> str:
    rows = "".join(
        f"<tr><td>{text(score.class_name)}</td><td>{score.confidence:.1%}</td></tr>"
        for score in output.scores
    )
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Classes"><table>'
        "<caption>Classes of the whole image</caption>"
        '<thead><tr><th scope="col">class</th><th scope="col">confidence</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def stages(prediction: Prediction) -> str:
    """The time of each stage as a bar, with the same numbers as text."""
    times = stage_times(prediction.metrics)
    total = sum(times.values())
    if total <= 0:
        return ""
    parts = "".join(
        f'<i class="s{_colour(name)}" style="width:{100 * seconds / total:.2f}%"></i>'
        for name, seconds in times.items()
    )
    legend = "".join(
        f'<li><i class="s{_colour(name)}" aria-hidden="true"></i>{text(name)}'
        f" <b>{seconds * 1000:.1f} ms</b></li>"
        for name, seconds in times.items()
    )
    return (
        f"<h4>Time per stage: {total * 1000:.1f} ms</h4>"
        f'<div class="bar" aria-hidden="true">{parts}</div><ul class="legend">{legend}</ul>'
    )


def stage_times(metrics: Mapping[str, float]) -> dict[str, float]:
    """Seconds by stage, the wait in the queue first. The total of the others is left out."""
    times = {
        name.removesuffix("_time"): seconds
        for name, seconds in metrics.items()
        if name.endswith("_time") and name != "predict_time"
    }
    known = [name for name in _STAGES if name in times]
    return {name: times[name] for name in [*known, *(n for n in times if n not in known)]}


def _colour(name: str) -> int:
    return _STAGES.index(name) if name in _STAGES else len(_STAGES)
