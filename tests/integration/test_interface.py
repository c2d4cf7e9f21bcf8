"""The HTTP interface beyond submit and poll, on the live stack."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.support.client import Client
from tests.support.live import Live
from tests.support.loopback import Handler, serving
from tests.support.paths import ROOT
from tests.support.servers import stopped
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.api, timeout=30) as http:
        yield http


def test_an_image_is_fetched_from_its_url_and_failures_name_no_secret(
    http: httpx.Client, client: Client, sample: bytes
) -> None:
    def answer(request: Handler) -> None:
        if request.path.startswith("/moved"):
            request.reply(302, Location="http://127.0.0.2:1/")
        else:
            request.reply(200 if request.path == "/image" else 404, sample)

    with serving(answer) as server:
        ends = {}
        for path in ("image", "nothing", "moved"):
            url = f"http://127.0.0.1:{server.port}/{path}" + (
                "" if path == "image" else "?signature=secret"
            )
            ends[path] = client.wait(
                http.post("/v1/predictions", json={"input": {"image": url}}).json()["id"]
            )
    assert ends["image"]["output"] | {"predictions": []} == client.wait(
        client.submit(sample)["id"]
    )["output"] | {"predictions": []}
    assert ends["image"]["output"]["predictions"]
    assert (ends["nothing"]["status"], ends["nothing"]["error_code"]) == (
        "failed",
        "image_not_fetched",
    )
    assert (ends["moved"]["status"], ends["moved"]["error_code"]) == (
        "failed",
        "address_not_allowed",
    )
    assert not any(
        "secret" in ends[name]["logs"] + ends[name]["error"] for name in ("nothing", "moved")
    )


def test_prefer_wait_answers_with_the_result(http: httpx.Client, sample: bytes) -> None:
    headers = {"Content-Type": "image/jpeg", "Prefer": "wait=20", "Idempotency-Key": "one"}
    first = http.post("/v1/predictions", content=sample, headers=headers)
    assert (first.status_code, first.json()["status"]) == (201, "succeeded")
    assert first.json()["logs"].startswith("attempt 1: ")
    again = http.post("/v1/predictions", content=sample, headers=headers)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]


def test_submitted_predictions_are_listed_newest_first(
    http: httpx.Client, client: Client, sample: bytes
) -> None:
    names = [
        client.wait(client.submit(sample, priority=priority)["id"])["id"]
        for priority in ("low", "normal", "high")
    ]
    page = http.get(
        "/v1/predictions", params={"limit": 3, "status": "succeeded", "model": "codes"}
    ).json()
    assert [entry["id"] for entry in page["results"]] == names[::-1]
    assert [entry["priority"] for entry in page["results"]] == ["high", "normal", "low"]
    assert http.get(page["next"]).json()["previous"] is not None


@pytest.fixture
def frozen_triton(live: Live) -> Iterator[None]:
    """Stop Triton for a while, so that a running prediction runs on."""
    with stopped(live.pids()["triton"]):
        yield


def test_a_stream_sends_every_change_and_the_output(
    live: Live, http: httpx.Client, client: Client, sample: bytes, frozen_triton: None
) -> None:
    events: list[list[str]] = []  # kind, data
    prediction = client.submit(sample)

    def read() -> None:
        with httpx.stream(
            "GET", f"{live.api}/v1/predictions/{prediction['id']}/stream", timeout=60
        ) as response:
            for line in response.iter_lines():
                if line.startswith("event: "):
                    events.append([line[7:], ""])
                elif line.startswith("data: "):
                    events[-1][1] += line[6:]

    reader = threading.Thread(target=read)
    reader.start()
    until(
        lambda: any(
            json.loads(data)["status"] == "processing"
            for kind, data in events
            if data and kind == "status"
        )
    )
    os.kill(live.pids()["triton"], signal.SIGCONT)
    reader.join(timeout=60)
    assert not reader.is_alive()
    assert [kind for kind, _ in events][-4:] == ["status", "logs", "output", "done"]
    assert json.loads(events[-2][1]) == client.get(prediction["id"])["output"]


def test_a_running_prediction_is_canceled_over_http(
    http: httpx.Client, client: Client, sample: bytes, frozen_triton: None
) -> None:
    prediction = client.submit(sample)
    until(lambda: client.get(prediction["id"])["status"] == "processing")
    canceled = http.post(prediction["urls"]["cancel"])
    assert (canceled.json()["status"], canceled.json()["canceled_from"]) == (
        "canceled",
        "processing",
    )
    assert client.get(prediction["id"])["status"] == "canceled"


def test_a_client_that_sends_expect_is_refused_by_its_content_length(live: Live) -> None:
    """The client never sends its body."""
    host, port = live.api.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = (
            "POST /v1/predictions HTTP/1.1",
            "Host: x",
            "Content-Type: image/jpeg",
            "Content-Length: 99999999",
            "Expect: 100-continue",
        )
        connection.sendall("\r\n".join((*head, "", "")).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_the_load_command_reports_its_results_and_fails_without_one(live: Live) -> None:
    command = [
        sys.executable,
        "-m",
        "sluice",
        "load",
        "--url",
        live.api,
        "--count",
        "40",
        "--concurrency",
        "8",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "ended: 40 succeeded" in done.stdout
    nowhere = subprocess.run(
        [*command, "--image", str(ROOT / "README.md")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert nowhere.returncode == 1
    assert "not_an_image" in nowhere.stderr
