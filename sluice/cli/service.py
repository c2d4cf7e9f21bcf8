"""The options of the commands that talk to a running service, and their client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from sluice.cli.console import exit_on_error
from sluice.client import Client, ServiceError

Url = Annotated[str, typer.Option(envvar="SLUICE_URL", help="The address of the service.")]
Key = Annotated[
    str | None,
    typer.Option(envvar="SLUICE_API_KEY", help="An API key, where the service needs one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AlwaysJson = Annotated[
    bool,
    typer.Option("--json", show_default=False, help="Nothing more: JSON is printed anyway."),
]
URL = "http://127.0.0.1:8080"


@contextmanager
def connected(url: str, key: str | None, *, retry_for_s: float = 5.0) -> Iterator[Client]:
    """A client of the service. An error of the service ends the command."""
    with (
        exit_on_error(ServiceError),
        answering(url),
        Client(url, key, retry_for_s=retry_for_s) as client,
    ):
        yield client


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Say in the error of a service that does not answer where it was looked for."""
    try:
        yield
    except ServiceError as error:
        if error.status is None and error.code == ServiceError.code:  # and no time is over
            error.message += f"; is {url} its address? --url or SLUICE_URL names another"
        raise


def print_json(value: Any) -> None:
    """Print a value as JSON, for programs: no colours, no wrapping."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))
