"""The completions of a shell, asked for as the shell asks."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sluice.cli.app import app
from tests.support.answers import prediction
from tests.support.loopback import Handler, serving

NO_SERVICE = "http://127.0.0.1:9"
MODELS = [
    {"name": name, "ready": True, "reason": None, "default": False, "version": "1"}
    | {"task": "detect", "classes": ["a"]}
    for name in ("codes", "yolo11n")
]


def _complete(line: str, **env: str) -> Result:
    """Ask as bash does: for the last word of a line."""
    asked = {"_SLUICE_COMPLETE": "complete_bash", "COMP_WORDS": line}
    asked["COMP_CWORD"] = str(len(line.split(" ")) - 1)
    return CliRunner(env=asked | env).invoke(app, prog_name="sluice")


def _answer(handler: Handler) -> None:
    answers: dict[str, Any] = {
        "/v1/models": {"results": MODELS},
        "/v1/predictions": {"previous": None, "next": None, "results": [prediction(id="abc")]},
    }
    handler.reply(200, json.dumps(answers[handler.path.partition("?")[0]]).encode())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sluice sub", ["submit"]),
        ("sluice submit --frame", ["--frame-rate"]),
        ("sluice submit --priority n", ["normal"]),
        ("sluice list --status s", ["starting", "succeeded"]),
        ("sluice submit --model y", ["yolo11n"]),
        ("sluice get a", ["abc"]),
    ],
)
def test_words_are_completed(line: str, words: list[str]) -> None:
    with serving(_answer) as service:
        done = _complete(line, SLUICE_URL=f"http://127.0.0.1:{service.port}")
    assert (done.stdout.split(), done.stderr) == (words, "")


@pytest.mark.parametrize("line", ["sluice submit --model y", "sluice get a"])
def test_a_service_that_does_not_answer_is_no_message(line: str) -> None:
    done = _complete(line, SLUICE_URL=NO_SERVICE)
    assert (done.stdout.strip(), done.stderr) == ("", "")
