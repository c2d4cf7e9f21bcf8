"""`sluice load` against a service that a test writes."""

import json
from collections.abc import Callable
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from sluice.cli.app import app
from tests.support.loopback import Handler, serving


def _load(answer: Callable[[Handler], None], *options: str) -> Result:
    with serving(answer) as service:
        arguments = ["load", "--url", f"http://127.0.0.1:{service.port}", *options]
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)


def _json(handler: Handler, status: int, body: dict[str, Any]) -> None:
    handler.reply(status, json.dumps(body).encode())


def test_a_refusal_for_good_is_one_error_line() -> None:
    result = _load(lambda handler: handler.reply(401, b"no valid key"), "--concurrency", "3")
    assert result.exit_code == 1
    assert result.stderr == "error: no valid key\n"


def test_refused_submissions_are_sent_again_and_counted() -> None:
    refusals = iter([429, 503])

    def answer(handler: Handler) -> None:
        if handler.command == "GET":
            _json(handler, 200, {"status": "succeeded", "completed_at": "2026-01-31T00:00:00Z"})
        elif status := next(refusals, None):
            handler.reply(status, Retry_After="0")
        else:
            _json(handler, 202, {"id": "a"})

    result = _load(answer, "--count", "5", "--concurrency", "1")
    assert result.exit_code == 0, result.output
    assert "ended: 5 succeeded" in result.stdout
    assert "submitted again: 2" in result.stdout
