"""`sluice demo`: images through the whole pipeline, and what came of them."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sluice.cli.webhooks import fetch_secret
from sluice.client.client import Client, ServiceError
from sluice.errors import LocalStackError
from sluice.webhooks.receiver import ReceivedEvent, Receiver

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
_HEAR_S = 10.0
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


def demo(
    images: Annotated[
        list[Path] | None, typer.Argument(help="Images or folders of images. Default: the samples.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="A running service. Default: start one, and stop it at the end."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the annotated images go.")] = Path("demo-output"),
    model: Annotated[str | None, typer.Option(help="Default: the service's.")] = None,
    confidence: Annotated[float, typer.Option(min=0, max=1)] = 0.25,
) -> None:
    """Send images through the pipeline; show what was found, and where the time went."""
    console = Console()
    try:
        found = [*_files([SAMPLES]), *_files(images or [])]
        with _service(url) as address, Client(address) as client:
            if url:  # which may be on another machine, and could not reach a receiver here
                rows, told = _run(client, found, console, model=model, confidence=confidence), ""
            else:
                rows, told = _run_and_hear(
                    client, address, found, console, model=model, confidence=confidence
                )
            written = _save(client, rows, out)
    except (LocalStackError, ServiceError, OSError) as error:
        Console(stderr=True).print(f"error: {escape(str(error))}", style="bold red")
        raise typer.Exit(1) from None
    console.print(_table(rows))
    if told:
        console.print(told)
    console.print(f"{written} annotated images are in {escape(str(out))}/")
    if any(row["status"] != "succeeded" for _, row in rows):
        raise typer.Exit(1)


@contextmanager
def _service(url: str | None) -> Iterator[str]:
    """The address of a service: the one given, or an embedded stack that lives as long as the context."""
    if url:
        yield url
        return
    # Not needed, nor perhaps installed, where the service runs elsewhere.
    from sluice.cli.up import Reporter  # noqa: PLC0415
    from sluice.local.stack import Stack, StackConfig  # noqa: PLC0415

    reporter = Reporter()
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as state:
        with reporter:
            # Webhooks are to be sent to this machine, which otherwise they are not.
            allow = ",".join(
                filter(None, (os.environ.get("SLUICE_NETGUARD_ALLOW"), "127.0.0.1/32"))
            )
            stack = Stack(
                StackConfig(state=Path(state), port=0, env={"SLUICE_NETGUARD_ALLOW": allow}),
                reporter.tell,
            )
            stack.start()
        try:
            yield stack.addresses.api
        finally:
            stack.stop()


def _files(given: Sequence[Path]) -> list[Path]:
    """The images among files and folders, sorted within a folder. Raises OSError for what is not there."""
    files = []
    for path in given:
        if path.is_dir():
            files += sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        elif path.exists():
            files.append(path)
        else:
            raise FileNotFoundError(f"no such file: {path}")
    return files


def _run(
    client: Client, images: Sequence[Path], console: Console, **asked: Any
) -> list[tuple[Path, dict[str, Any]]]:
    """Submit all, then wait for all; an image that is refused becomes a row with the reason."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        sent = progress.add_task("submitted", total=len(images))
        ended = progress.add_task("ended", total=len(images))
        rows = []
        for image in images:
            try:
                rows.append((image, client.submit(image, visualize=True, **asked)))
            except ServiceError as error:
                if error.status is None:
                    raise
                rows.append((image, {"status": "refused", "error": error.message}))
            progress.advance(sent)
        results = []
        for image, row in rows:
            results.append((image, client.wait(row["id"]) if "id" in row else row))
            progress.advance(ended)
    return results


def _run_and_hear(
    client: Client, address: str, images: Sequence[Path], console: Console, **asked: Any
) -> tuple[list[tuple[Path, dict[str, Any]]], str]:
    """The same with a webhook, and a sentence on what it was told."""
    heard: list[ReceivedEvent] = []
    with Receiver(lambda: fetch_secret(address, None), heard.append) as receiver:
        rows = _run(client, images, console, webhook=receiver.url, **asked)
        wanted = {f"{row['id']}_completed" for _, row in rows if "id" in row}
        until = time.monotonic() + _HEAR_S
        while time.monotonic() < until and not wanted <= {event.id for event in heard}:
            time.sleep(0.05)
    wrong = sum(event.error is not None for event in heard)
    kinds = Counter(event.payload["type"] for event in heard if not event.error)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "no events"
    return (
        rows,
        f"The webhook was told: {counts}; {f'{wrong} signatures are wrong' if wrong else 'all signatures are right'}.",
    )


def _save(client: Client, rows: Sequence[tuple[Path, dict[str, Any]]], out: Path) -> int:
    done = [(image, row) for image, row in rows if row["status"] == "succeeded"]
    if done:
        out.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for image, row in done:
        name = image.stem
        while name in taken:  # two folders may hold files of one name
            name += "-again"
        taken.add(name)
        (out / f"{name}.jpg").write_bytes(client.annotated(row["id"]))
    return len(done)


def _table(rows: Sequence[tuple[Path, dict[str, Any]]]) -> Table:
    table = Table(title="times in milliseconds")
    for title in ("image", "size", "found"):
        table.add_column(title, overflow="fold")
    for title in ("queue", "decode", "inference", "rest"):
        table.add_column(title, justify="right")
    for image, row in rows:
        if row["status"] != "succeeded":
            table.add_row(
                escape(image.name),
                "",
                f"[red]{row['status']}: {escape(str(row['error']))}[/]",
                "",
                "",
                "",
                "",
            )
            continue
        size = row["output"]["image"]
        counts = Counter(entry["class"] for entry in row["output"]["predictions"])
        found = ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "nothing"
        metrics = row["metrics"]
        rest = metrics["predict_time"] - metrics["decode_time"] - metrics["inference_time"]
        times = (metrics["queue_time"], metrics["decode_time"], metrics["inference_time"], rest)
        cells = (f"{seconds * 1000:.1f}" for seconds in times)
        table.add_row(
            escape(image.name), f"{size['width']} x {size['height']}", escape(found), *cells
        )
    return table
