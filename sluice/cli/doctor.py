"""`sluice doctor`: what may be wrong with a service, and what to do about it."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sluice.cli import extras
from sluice.cli.basic_checks import Level, basic_findings
from sluice.cli.console import exit_on_error
from sluice.cli.service import URL, AsJson, Key, print_json
from sluice.local.supervision.state import default_directory, running_stack

if TYPE_CHECKING:
    from sluice.cli.checks import Places

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "fault": "[bold red]fault[/]"}


def doctor(
    url: Annotated[
        str | None,
        typer.Option(envvar="SLUICE_URL", help="The address of the api. Default: the running one."),
    ] = None,
    reach: Annotated[
        str | None,
        typer.Option(help="Check also that this URL, of an image or a webhook, can be reached."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="The state folder of `sluice up`, if it has another one.")
    ] = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Check Redis, Triton, models, the api, workers, keys, clock, disk and limits.

    The places are those of the running `sluice up`, or of the environment's SLUICE_ variables.
    The exit status is 1 if something can't work. Without the extra `operator`, the command checks
    this machine and the api alone.

    Example: sluice doctor --reach https://example.com/hook
    """
    folder = state or default_directory()
    if extras.missing("operator"):
        stack = running_stack(folder)
        running = str(stack["addresses"]["api"]) if stack else None
        address = (url or running or URL).rstrip("/")
        findings = list(basic_findings(address, key, folder))
    else:
        # Redis and pydantic are slow to import, and other commands do without them.
        from sluice.cli.checks import all_findings  # noqa: PLC0415

        with exit_on_error(ValueError):
            findings = list(all_findings(_places(url, key, folder), reach))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        console = Console(highlight=False, soft_wrap=True)
        for finding in findings:
            console.print(f"{_MARKS[finding.level]} {finding.subject}: {escape(finding.text)}")
            if finding.remedy:
                console.print(f"    {escape(finding.remedy)}", style="dim")
    if any(finding.level is Level.FAULT for finding in findings):
        raise typer.Exit(1)


def _places(url: str | None, key: str | None, state: Path) -> "Places":
    """Raises ValueError, which names a wrong variable."""
    from sluice.cli.checks import Places  # noqa: PLC0415  as above
    from sluice.settings import RedisAddress, Settings  # noqa: PLC0415  as above

    settings = Settings.from_env()
    redis = settings.redis_address(settings.redis.worker_timeout_s)
    triton_http = settings.triton.http_url
    api = f"http://127.0.0.1:{settings.api.port}"
    if stack := running_stack(state):
        addresses = stack["addresses"]
        api = addresses["api"]
        if "url" not in settings.redis.model_fields_set:
            redis = RedisAddress.parse(addresses["redis"])
        if "http_url" not in settings.triton.model_fields_set:
            triton_http = addresses["triton_http"]
    return Places(settings, redis, triton_http, (url or api).rstrip("/"), key, state)
