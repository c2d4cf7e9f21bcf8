"""`sluice get`, `cancel`, `list`, `queue` and `watch`: what a running service has."""

import itertools
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from sluice.cli import completion
from sluice.cli.console import fail
from sluice.cli.service import URL, AlwaysJson, AsJson, Key, Url, connected, print_json
from sluice.client import Prediction, ServiceError
from sluice.client.results import Queue

_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "aborted": "red",
    "canceled": "yellow",
    "processing": "cyan",
}

Id = Annotated[
    str,
    typer.Argument(metavar="ID", help="The prediction's id.", autocompletion=completion.ids),
]


def get(
    prediction_id: Id,
    wait: Annotated[float, typer.Option(min=0, help="Wait so many seconds for its end.")] = 0.0,
    as_json: AlwaysJson = True,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Print a prediction as JSON. The exit status is 0 only if it has succeeded.

    Example: sluice get 7g5xsn4ocjhbvgtyo3uzqkwa4e --wait 30
    """
    with connected(url, key) as client:
        try:
            prediction = (
                client.wait(prediction_id, timeout_s=wait) if wait else client.get(prediction_id)
            )
        except ServiceError as error:
            if error.code != "timeout":
                raise
            prediction = client.get(prediction_id)
    print_json(prediction.raw)
    if not prediction.succeeded:
        raise typer.Exit(1)


def cancel(
    prediction_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID...", help="The predictions' ids.", autocompletion=completion.live_ids
        ),
    ],
    as_json: AsJson = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Cancel queued or running predictions. The exit status is 1 if one had ended already.

    Example: sluice cancel 7g5xsn4ocjhbvgtyo3uzqkwa4e
    """
    refused = False
    lines = []
    with connected(url, key) as client:
        for prediction_id in prediction_ids:
            try:
                status, error_text = client.cancel(prediction_id).status, None
            except ServiceError as error:
                if error.status not in (404, 409, 410):
                    raise
                status, error_text = None, error.message
                refused = True
            lines.append({"id": prediction_id, "status": status, "error": error_text})
            if not as_json:
                typer.echo(f"{prediction_id} {status or error_text}", err=status is None)
    if as_json:
        print_json(lines)
    if refused:
        raise typer.Exit(1)


def list_(
    status: Annotated[
        str | None,
        typer.Option(help="Only those of this status.", autocompletion=completion.statuses),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Only those of this model.", autocompletion=completion.models)
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only those created since this time (ISO 8601).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The largest number of predictions.")] = 20,
    as_json: AsJson = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """List your predictions, the newest first.

    Example: sluice list --status failed
    """
    with connected(url, key) as client:
        found = client.predictions(status=status, model=model, since=since)
        predictions = list(itertools.islice(found, limit))
    if as_json:
        print_json([prediction.raw for prediction in predictions])
    else:
        Console().print(_table(predictions))


def queue(as_json: AsJson = False, url: Url = URL, key: Key = None) -> None:
    """Show the load of the service: backlog, workers, and the estimated wait.

    Example: sluice queue --json
    """
    with connected(url, key) as client:
        load = client.queue()
    if as_json:
        print_json(load.raw)
    else:
        typer.echo(_load(load))


def watch(
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks.")] = 1.0,
    limit: Annotated[int, typer.Option(min=1, max=100, help="Predictions in the list.")] = 15,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Show the queue and your newest predictions, again and again, until Ctrl-C.

    Example: sluice watch --every 0.5
    """
    console = Console()
    if not console.is_terminal:
        fail("watch needs a terminal; use `sluice queue --json` and `sluice list --json`")
    with connected(url, key) as client, Live(console=console, screen=True) as live:
        try:
            while True:
                try:
                    load = _load(client.queue())
                    table = _table(list(itertools.islice(client.predictions(), limit)))
                    table.title = f"{escape(url)}: {load}"
                    live.update(table)
                except ServiceError as error:
                    if error.status in (401, 403):
                        raise
                    live.update(f"{escape(url)}: {escape(error.message)}")
                time.sleep(every)
        except KeyboardInterrupt:
            pass


def _load(load: Queue) -> str:
    wait = "unknown" if load.estimated_wait_s is None else f"{load.estimated_wait_s:.1f} s"
    return (
        f"{load.backlog} in the backlog, {load.processing} of them running;"
        f" the oldest waits {load.oldest_s:.0f} s;"
        f" {load.workers} workers; {load.per_s:.1f}/s; estimated wait {wait}"
    )


def _table(predictions: list[Prediction]) -> Table:
    table = Table()
    for title in ("id", "status", "model", "created", "seconds", "found"):
        table.add_column(title, no_wrap=title == "id")
    for entry in predictions:
        style = _STYLES.get(entry.status, "")
        table.add_row(
            entry.id,
            f"[{style}]{entry.status}[/]" if style else entry.status,
            escape(entry.model),
            f"{entry.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
            _seconds(entry),
            _found(entry),
        )
    return table


def _seconds(entry: Prediction) -> str:
    end = entry.completed_at
    return f"{(end - entry.created_at).total_seconds():.2f}" if end else ""


def _found(entry: Prediction) -> str:
    if entry.error:
        return escape(f"{entry.error_code}: {entry.error}"[:60])
    if entry.output is None:
        return f"place {entry.queue_position}" if entry.queue_position else ""
    if entry.output.scores:
        best = entry.output.scores[0]
        return escape(f"{best.class_name} {best.confidence:.2f}")
    return str(len(entry.output.detections))
