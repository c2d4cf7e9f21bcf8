"""`sluice webhooks`: a receiver for first steps, the secrets, and the dead deliveries."""

import json
import threading
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from sluice.cli import extras
from sluice.cli.console import exit_on_error, fail
from sluice.cli.service import AsJson, print_json
from sluice.errors import SluiceError
from sluice.webhooks.receiver import ReceivedEvent, Receiver
from sluice.webhooks.signing import SigningKey

if TYPE_CHECKING:
    from sluice.cli.operator import WebhookTools
    from sluice.delivery import Delivery

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
        str,
        typer.Option(
            envvar="SLUICE_URL", help="The URL of the api, which is asked for the secret."
        ),
    ] = "http://127.0.0.1:8080",
    api_key: Annotated[
        str | None,
        typer.Option(envvar="SLUICE_API_KEY", help="An API key, when the api needs one."),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(help="A secret, `whsec_…` or `whpk_…`. The api is not asked then."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as a line of JSON.")
    ] = False,
) -> None:
    """Receive webhooks on this machine, verify them and print them, until Ctrl-C.

    Example: sluice webhooks listen --port 9000
    """
    console = Console(highlight=False, stderr=as_json)

    def get_secret() -> str:
        return secret or fetch_secret(service, api_key)

    def show(event: ReceivedEvent) -> None:
        if as_json:
            facts = {"id": event.id, "error": event.error, "payload": event.payload}
            typer.echo(json.dumps(facts, ensure_ascii=False))
        else:
            console.print(line(event))

    try:
        with Receiver(get_secret, show, port=port) as receiver:
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
    as_json: AsJson = False,
) -> None:
    """Print the secrets that sign a key's webhooks, the newest first.

    Example: sluice webhooks secret --key camera-3 --rotate
    """
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
    if as_json:
        print_json({"key": key_name, "secrets": list(values)})
        return
    for value in values:
        typer.echo(value)


@app.command()
def keypair(as_json: AsJson = False) -> None:
    """Create a key pair for Ed25519 signatures.

    The private key is for SLUICE_WEBHOOKS_SIGNING_KEY, the public key for receivers.

    Example: sluice webhooks keypair
    """
    private = SigningKey.new()
    with exit_on_error(ValueError):
        public = SigningKey(private).public
    if as_json:
        print_json({"private": private, "public": public})
        return
    typer.echo(f"SLUICE_WEBHOOKS_SIGNING_KEY={private}\npublic: {public}")


@app.command()
def dead(as_json: AsJson = False) -> None:
    """List the deliveries that were given up or stopped, the newest first.

    Example: sluice webhooks dead
    """
    with exit_on_error(SluiceError, ValueError):
        deliveries = _webhook_tools().deliveries.dead()
    if as_json:
        print_json([_facts(delivery) for delivery in deliveries])
        return
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
    as_json: AsJson = False,
) -> None:
    """Send a delivery again, with the same id, and print its status.

    Example: sluice webhooks redeliver 7g5xsn4ocjhbvgtyo3uzqkwa4e_completed
    """
    with exit_on_error(SluiceError, ValueError):
        delivery = _webhook_tools().deliveries.redeliver(delivery_id)
    if as_json:
        print_json(_facts(delivery))
    else:
        typer.echo(delivery.status.value)


def _facts(delivery: "Delivery") -> dict[str, Any]:
    """A delivery for programs. Of the URL the host alone: the rest may hold a secret."""
    last = delivery.log[-1] if delivery.log else None
    return {
        "id": delivery.id,
        "host": httpx.URL(delivery.url).host,
        "status": delivery.status.value,
        "reason": delivery.reason,
        "attempts": delivery.attempts,
        "last_status": last and last.status,
        "last_error": last and last.error,
        "created_at": delivery.model_dump(mode="json")["created_at"],
    }


def _webhook_tools() -> "WebhookTools":
    """The tools for the environment's queue. Raises ValueError for a wrong setting."""
    extras.need("operator")
    # Imported here: at the top, Celery would slow the start of every command.
    from sluice.cli.operator import WebhookTools  # noqa: PLC0415
    from sluice.settings import Settings  # noqa: PLC0415

    return WebhookTools(Settings.from_env())
