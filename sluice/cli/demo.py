"""`sluice demo`: images through the whole pipeline, and a table of the results."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluice.cli import extras
from sluice.cli.console import Reporter, exit_on_error, progress
from sluice.cli.service import AsJson, print_json
from sluice.cli.webhooks import fetch_secret
from sluice.client import Client, ServiceError
from sluice.client.calls import Options
from sluice.errors import LocalStackError
from sluice.local.config import StackConfig
from sluice.local.paths import SAMPLES
from sluice.local.stack import Stack
from sluice.webhooks.receiver import ReceivedEvent, Receiver

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif"}
_WEBHOOK_TIMEOUT_S = 10.0  # the longest wait for the last webhook


class Row(NamedTuple):
    """An image, and the prediction made from it."""

    image: Path
    """The image's file."""

    prediction: dict[str, Any]
    """The prediction as the api answers it. For a refused image: only `status` and `error`."""

    @property
    def succeeded(self) -> bool:
        return bool(self.prediction["status"] == "succeeded")


def demo(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Images, or folders of images, to send beside the samples."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="The URL of a running service. Default: start one, and stop it at the end."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for the annotated images.")] = Path(
        "demo-output"
    ),
    model: Annotated[
        str | None, typer.Option(help="The model's name. Default: the service's default model.")
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="The lowest confidence of a detection.")
    ] = 0.25,
    as_json: AsJson = False,
) -> None:
    """Send images through the pipeline; show the detections, and the time of each stage.

    Example: sluice demo photos/ --out drawn
    """
    console = Console(stderr=as_json)
    summary = ""
    with exit_on_error(LocalStackError, ServiceError, OSError):
        files = [*_image_files([SAMPLES]), *_image_files(images or [])]
        options: Options = {"model": model, "confidence": confidence, "visualize": True}
        with _service(url) as address, Client(address) as client:
            if url:  # a service on another machine could not reach a receiver on this one
                rows = _predict(client, files, console, options)
            else:
                rows, summary = _predict_with_webhook(client, address, files, console, options)
            written = _save(client, rows, out)
    if as_json:
        print_json([{"image": str(row.image), "prediction": row.prediction} for row in rows])
    else:
        console.print(_table(rows))
    if summary:
        console.print(summary)
    console.print(f"{written} annotated images are in {escape(str(out))}/")
    if not all(row.succeeded for row in rows):
        raise typer.Exit(1)


@contextmanager
def _service(url: str | None) -> Iterator[str]:
    """The address of a service: `url`, or an embedded stack that lives as long as the context."""
    if url:
        yield url
        return
    extras.need("local")
    reporter = Reporter()
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as state:
        # Webhooks to this machine need permission.
        allowed = filter(None, (os.environ.get("SLUICE_NETGUARD_ALLOW"), "127.0.0.1/32"))
        config = StackConfig(
            state=Path(state), port=0, env={"SLUICE_NETGUARD_ALLOW": ",".join(allowed)}
        )
        stack = Stack(config, reporter.tell)
        with reporter:
            stack.start()
        try:
            yield stack.addresses.api
        finally:
            stack.stop()


def _image_files(paths: Sequence[Path]) -> list[Path]:
    """The images among files and folders, sorted within a folder.

    Raises OSError for a missing file.
    """
    files = []
    for path in paths:
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        elif path.exists():
            files.append(path)
        else:
            raise FileNotFoundError(f"no such file: {path}")
    return files


def _predict(
    client: Client, images: Sequence[Path], console: Console, options: Options
) -> list[Row]:
    """Submit all images, then wait for all predictions."""
    with progress(console) as bars:
        submitted = bars.add_task("submitted", total=len(images))
        ended = bars.add_task("ended", total=len(images))
        starts = []
        for image in images:
            starts.append(Row(image, _submit(client, image, options)))
            bars.advance(submitted)
        rows = []
        for image, prediction in starts:
            end = client.wait(prediction["id"]).raw if "id" in prediction else prediction
            rows.append(Row(image, end))
            bars.advance(ended)
    return rows


def _submit(client: Client, image: Path, options: Options) -> dict[str, Any]:
    """Submit one image. A refusal becomes a prediction of the status `refused`."""
    try:
        return client.submit(image, **options).raw
    except ServiceError as error:
        if error.status is None:
            raise
        return {"status": "refused", "error": error.message}


def _predict_with_webhook(
    client: Client,
    address: str,
    images: Sequence[Path],
    console: Console,
    options: Options,
) -> tuple[list[Row], str]:
    """Like `_predict`, with a webhook; returns a sentence on its events too."""
    events: list[ReceivedEvent] = []
    with Receiver(lambda: fetch_secret(address, None), events.append) as receiver:
        rows = _predict(client, images, console, {**options, "webhook": receiver.url})
        expected = {f"{row.prediction['id']}_completed" for row in rows if "id" in row.prediction}
        until = time.monotonic() + _WEBHOOK_TIMEOUT_S
        while time.monotonic() < until and not expected <= {event.id for event in events}:
            time.sleep(0.05)
    return rows, _webhook_summary(events)


def _webhook_summary(events: Sequence[ReceivedEvent]) -> str:
    wrong = sum(event.error is not None for event in events)
    kinds = Counter(event.payload["type"] for event in events if not event.error)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
    signatures = f"{wrong} signatures are wrong" if wrong else "all signatures are right"
    return f"Webhook events received: {counts}; {signatures}."


def _save(client: Client, rows: Sequence[Row], out: Path) -> int:
    """Write the annotated images to the folder `out`. Returns their number."""
    succeeded = [row for row in rows if row.succeeded]
    if succeeded:
        out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for image, prediction in succeeded:
        name = image.stem
        while name in taken:  # two folders may hold files of one name
            name += "-again"
        taken.add(name)
        (out / f"{name}.jpg").write_bytes(client.annotated(prediction["id"]))
    return len(succeeded)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="times in milliseconds")
    for title in ("image", "size", "found"):
        table.add_column(title, overflow="fold")
    for title in ("queue", "decode", "inference", "rest"):
        table.add_column(title, justify="right")
    for row in rows:
        cells = _result_cells(row.prediction) if row.succeeded else _error_cells(row.prediction)
        table.add_row(escape(row.image.name), *cells)
    return table


def _error_cells(prediction: dict[str, Any]) -> list[str]:
    return ["", f"[red]{prediction['status']}: {escape(str(prediction['error']))}[/]"]


def _result_cells(prediction: dict[str, Any]) -> list[str]:
    """Size, detections, and the times of the stages in milliseconds."""
    size = prediction["output"]["image"]
    counts = Counter(entry["class"] for entry in prediction["output"]["predictions"])
    classes = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
    metrics = prediction["metrics"]
    rest_s = metrics["predict_time"] - metrics["decode_time"] - metrics["inference_time"]
    times_s = (metrics["queue_time"], metrics["decode_time"], metrics["inference_time"], rest_s)
    times = (f"{seconds * 1000:.1f}" for seconds in times_s)
    return [f"{size['width']} x {size['height']}", escape(classes), *times]
