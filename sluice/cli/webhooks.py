"""`sluice webhooks`: a receiver for first steps, the secrets, and the deliveries that were given up."""

import threading
from collections.abc import Callable
from typing import Annotated, NoReturn, TypeVar

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sluice.delivery import Delivery
from sluice.errors import SluiceError
from sluice.ledger.deliveries import RedisDeliveries
from sluice.prediction import isoformat
from sluice.redisio import connection
from sluice.settings import Settings
from sluice.webhooks.receiver import ReceivedEvent, Receiver
from sluice.webhooks.secrets import RedisSecrets
from sluice.webhooks.signing import SigningKey

app = typer.Typer(
    help="Webhooks. All but `listen` and `keypair` read SLUICE_REDIS_URL.", no_args_is_help=True
)
T = TypeVar("T")
Key = Annotated[str, typer.Option(help="The API key's name, as `sluice keys` has it.")]


class Operator:
    """What the operator may see and change, in Redis itself. Every method of its parts raises Unavailable when that is away."""

    def __init__(self, settings: Settings) -> None:
        timeouts = {
            "connect_timeout_s": settings.redis.connect_timeout_s,
            "timeout_s": settings.redis.worker_timeout_s,
        }
        client = connection.connect(settings.redis_url, **timeouts)
        self.deliveries = RedisDeliveries(client, settings.queue.name, settings.webhooks)
        self.secrets = RedisSecrets(client, settings.queue.name)


@app.command()
def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 9000,
    service: Annotated[
        str, typer.Option(help="Where the api is; it is asked for the secret.")
    ] = "http://127.0.0.1:8080",
    api_key: Annotated[
        str | None, typer.Option(envvar="SLUICE_API_KEY", help="Where the api asks for one.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(help="`whsec_…` or `whpk_…`; then the api is not asked.")
    ] = None,
) -> None:
    """Receive webhooks on this machine, verify them, and print them, until Ctrl-C."""
    console = Console(highlight=False)

    def ask() -> str:
        return secret or fetch_secret(service, api_key)

    try:
        with Receiver(ask, lambda event: console.print(line(event)), port=port) as receiver:
            console.print(
                f"listening at {receiver.url}; submit with [bold]webhook={receiver.url}[/]"
            )
            console.print(
                "Sluice sends nothing to this machine unless it is allowed: SLUICE_NETGUARD_ALLOW=127.0.0.1/32 sluice up"
            )
            threading.Event().wait()
    except OSError as error:
        _fail(f"port {port} can't be listened at: {error.strerror}; choose another with --port")
    except KeyboardInterrupt:
        pass


def fetch_secret(service: str, api_key: str | None) -> str:
    """The newest secret of whom `api_key` belongs to. Raises ValueError, which says what to change."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        answer = httpx.get(f"{service}/v1/webhooks/default/secret", headers=headers, timeout=5)
        answer.raise_for_status()
        return str(answer.json()["key"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise ValueError(
            f"{service} does not tell the secret ({error}); give it with --secret, or the address with --service"
        ) from None


def line(event: ReceivedEvent) -> str:
    """An event for people, in Rich's markup."""
    if event.error:
        return f"[bold red]refused[/]  {escape(event.id)}: {escape(event.error)}"
    data = event.payload.get("data", {})
    return f"[green]verified[/] {escape(str(event.payload.get('type')))}  {escape(event.id)}  {escape(str(data.get('status')))}"


@app.command()
def secret(
    key: Key = "default",
    rotate: Annotated[
        bool, typer.Option(help="Make a new one; both are valid until --retire.")
    ] = False,
    retire: Annotated[bool, typer.Option(help="From now on only the newest is valid.")] = False,
) -> None:
    """Print the secrets that a key's webhooks are signed with, the newest first."""
    if rotate and retire:
        _fail(
            "give --rotate or --retire: what is received is to be verified by the new secret before the old one goes"
        )

    def change(operator: Operator) -> tuple[str, ...]:
        if rotate:
            operator.secrets.rotate(key)
        if retire:
            operator.secrets.retire(key)
        return operator.secrets.for_key(key)

    for found in _guarded(change):
        typer.echo(found)


@app.command()
def keypair() -> None:
    """Make a key for Ed25519 signatures: the private one for SLUICE_WEBHOOKS_SIGNING_KEY, the public one for receivers."""
    private = SigningKey.new()
    try:
        public = SigningKey(private).public
    except ValueError as error:
        _fail(str(error))
    typer.echo(f"SLUICE_WEBHOOKS_SIGNING_KEY={private}\npublic: {public}")


@app.command()
def dead() -> None:
    """The deliveries that were given up or stopped, the newest first."""
    table = Table(
        Column("id", overflow="fold"), "host", "why", "attempts", "last answer", "filed at"
    )
    for delivery in _guarded(lambda operator: operator.deliveries.dead()):
        last = delivery.log[-1] if delivery.log else None
        said = "" if last is None else last.error or str(last.status)
        cells = (
            delivery.reason or "",
            str(delivery.attempts),
            said,
            isoformat(delivery.created_at),
        )
        table.add_row(delivery.id, escape(_host(delivery)), *cells)
    Console().print(table)


@app.command()
def redeliver(delivery_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Send one once more, with the same id."""
    typer.echo(_guarded(lambda operator: operator.deliveries.redeliver(delivery_id)).status.value)


def _host(delivery: Delivery) -> str:
    """Of a URL, what holds no secret."""
    return httpx.URL(delivery.url).host


def _guarded(call: Callable[[Operator], T]) -> T:
    """What `call` returns, or its error as one line and exit status 1."""
    try:
        return call(Operator(Settings.from_env()))
    except SluiceError as error:
        _fail(error.message)


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(f"error: {escape(message)}", style="bold red")
    raise typer.Exit(1)
