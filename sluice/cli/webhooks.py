"""`sluice webhooks`: a receiver for first steps, the secrets, and the dead deliveries."""

import threading
from typing import TYPE_CHECKING, Annotated

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sluice.cli import extras
from sluice.cli.console import exit_on_error, fail
from sluice.errors import SluiceError
from sluice.webhooks.receiver import ReceivedEvent, Receiver
from sluice.webhooks.signing import SigningKey

if TYPE_CHECKING:
    from sluice.cli.operator import WebhookTools

app = typer.Typer(
    help="Webhooks. All commands but `listen` and `keypair` read SLUICE_REDIS_URL.",
    no_args_is_help=True,
)
KeyName = Annotated[
    str, typer.Option("--key", help="The API key's name, as in `sluice keys list`.")
]


@app.command()
def listen(
    port: Annotated[
        int, typer.Option(min=0, help="The port to listen on. 0: any free port.")
    ] = 9000,
    service: Annotated[
        str, typer.Option(help="The URL of the api, which is asked for the secret.")
    ] = "http://127.0.0.1:8080",
    api_key: Annotated[
        str | None,
        typer.Option(envvar="SLUICE_API_KEY", help="An API key, when the api needs one."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="A secret, `whsec_…` or `whpk_…`. The api is not asked then."),
    ] = None,
) -> None:
    """Receive webhooks on this machine, verify them and print them, until Ctrl-C."""
    console = Console(highlight=False)

    def get_secret() -> str:
        return secret or fetch_secret(service, api_key)

    try:
        with Receiver(get_secret, lambda event: console.print(line(event)), port=port) as receiver:
            console.print(
                f"listening at {receiver.url}; submit with [bold]webhook={receiver.url}[/]"
            )
            console.print(
                "Sluice sends webhooks to this machine only when allowed:"
                " SLUICE_NETGUARD_ALLOW=127.0.0.1/32 sluice up"
            )
            threading.Event().wait()
    except OSError as error:
        fail(f"can't listen on port {port}: {error.strerror}; choose another one with --port")
    except KeyboardInterrupt:
        pass


def fetch_secret(service: str, api_key: str | None) -> str:
    """The newest webhook secret of `api_key`, from the api at `service`.

    Raises ValueError, with the remedy, when the api does not answer with a secret.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        answer = httpx.get(f"{service}/v1/webhooks/default/secret", headers=headers, timeout=5)
        answer.raise_for_status()
        return str(answer.json()["key"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise ValueError(
            f"{service} gave no secret ({error}); give the secret with --secret,"
            " or the api's URL with --service"
        ) from None


def line(event: ReceivedEvent) -> str:
    """An event as one line for people, in Rich's markup."""
    if event.error:
        return f"[bold red]refused[/]  {escape(event.id)}: {escape(event.error)}"
    kind = escape(str(event.payload.get("type")))
    status = escape(str(event.payload.get("data", {}).get("status")))
    return f"[green]verified[/] {kind}  {escape(event.id)}  {status}"


@app.command()
def secret(
    key_name: KeyName = "default",
    rotate: Annotated[
        bool, typer.Option(help="Add a new secret. Both are valid until --retire.")
    ] = False,
    retire: Annotated[
        bool, typer.Option(help="Drop the older secret. Only the newest stays valid.")
    ] = False,
) -> None:
    """Print the secrets that sign a key's webhooks, the newest first."""
    if rotate and retire:
        fail(
            "give --rotate or --retire, not both: receivers must know the new secret"
            " before the old one is dropped"
        )
    with exit_on_error(SluiceError, ValueError):
        secrets = _webhook_tools().secrets
        if rotate:
            secrets.rotate(key_name)
        if retire:
            secrets.retire(key_name)
        values = secrets.for_key(key_name)
    for value in values:
        typer.echo(value)


@app.command()
def keypair() -> None:
    """Create a key pair for Ed25519 signatures.

    The private key is for SLUICE_WEBHOOKS_SIGNING_KEY, the public key for receivers.
    """
    private = SigningKey.new()
    with exit_on_error(ValueError):
        public = SigningKey(private).public
    typer.echo(f"SLUICE_WEBHOOKS_SIGNING_KEY={private}\npublic: {public}")


@app.command()
def dead() -> None:
    """List the deliveries that were given up or stopped, the newest first."""
    with exit_on_error(SluiceError, ValueError):
        deliveries = _webhook_tools().deliveries.dead()
    from sluice.prediction import isoformat  # noqa: PLC0415  as in `_webhook_tools`

    table = Table(
        Column("id", overflow="fold"), "host", "why", "attempts", "last answer", "filed at"
    )
    for delivery in deliveries:
        last = delivery.log[-1] if delivery.log else None
        # The rest of the URL may hold a secret.
        host = httpx.URL(delivery.url).host
        table.add_row(
            delivery.id,
            escape(host),
            delivery.reason or "",
            str(delivery.attempts),
            "" if last is None else last.error or str(last.status),
            isoformat(delivery.created_at),
        )
    Console().print(table)


@app.command()
def redeliver(
    delivery_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a delivery.")],
) -> None:
    """Send a delivery again, with the same id, and print its status."""
    with exit_on_error(SluiceError, ValueError):
        delivery = _webhook_tools().deliveries.redeliver(delivery_id)
    typer.echo(delivery.status.value)


def _webhook_tools() -> "WebhookTools":
    """The tools for the environment's queue. Raises ValueError for a wrong setting."""
    extras.need("operator")
    # Imported here: at the top, Celery would slow the start of every command.
    from sluice.cli.operator import WebhookTools  # noqa: PLC0415
    from sluice.settings import Settings  # noqa: PLC0415

    return WebhookTools(Settings.from_env())
