"""Without Triton, results are read, submissions wait, and `/readyz` says what is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.api_process import ApiProcess, api_process
from tests.support.client import Client
from tests.support.live import Live
from tests.support.servers import stopped
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@contextmanager
def _api_without_triton(live: Live, tmp_path: Path, way: str) -> Iterator[ApiProcess]:
    """A new api of the stack. Triton refuses its connections, or accepts them and hangs."""
    env = {"SLUICE_REDIS_URL": live.redis, "SLUICE_BLOBS_URL": live.redis}
    if way == "refuses":
        with api_process(tmp_path / "api", env) as api:
            yield api
        return
    env["SLUICE_TRITON_HTTP_URL"] = live.triton_http
    with stopped(live.pids()["triton"]), api_process(tmp_path / "api", env) as api:
        yield api


@pytest.mark.parametrize("way", ["refuses", "hangs"])
def test_an_api_that_starts_without_triton_accepts_submissions_and_shows_results(
    live: Live, client: Client, sample: bytes, tmp_path: Path, way: str
) -> None:
    ended = client.wait(client.submit(sample)["id"])
    with _api_without_triton(live, tmp_path, way) as api, Client(api.url) as its_client:
        ready = httpx.get(f"{api.url}/readyz", timeout=20)
        assert ready.status_code == 200, ready.text
        assert "Triton does not answer since" in ready.json()["warnings"][0]
        assert its_client.get(ended["id"])["output"] == ended["output"]
        accepted = its_client.submit(sample)["id"]
        unknown = httpx.post(
            f"{api.url}/v1/predictions",
            files={"image": sample},
            data={"model": "nosuch"},
            timeout=20,
        )
        assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_model")
        models = httpx.get(f"{api.url}/v1/models", timeout=20).json()["results"]
        assert "codes" in {model["name"] for model in models}
    assert client.wait(accepted, timeout_s=90)["status"] == "succeeded"


def test_an_api_that_never_saw_a_list_of_models_is_not_ready_without_triton(
    live: Live, tmp_path: Path
) -> None:
    env = {"SLUICE_REDIS_URL": live.redis, "SLUICE_QUEUE_NAME": "unused"}
    with api_process(tmp_path / "api", env) as api:
        ready = httpx.get(f"{api.url}/readyz", timeout=20)
        assert (ready.status_code, ready.json()["redis"]) == (503, "ok")


def _troubled(live: Live) -> str:
    """The warning on workers, and an empty text without one."""
    ready = httpx.get(f"{live.api}/readyz", timeout=20)
    assert ready.status_code == 200, ready.text
    return next((text for text in ready.json().get("warnings", ()) if "workers" in text), "")


def _is_untroubled(live: Live, client: Client, sample: bytes) -> bool:
    """A worker hears by its next prediction that Triton is back; without one it waits a minute."""
    for name in [client.submit(sample)["id"] for _ in range(4)]:
        assert client.wait(name, timeout_s=90)["status"] == "succeeded"
    return not _troubled(live)


def test_readyz_says_how_many_workers_a_hanging_triton_keeps_from_their_work(
    live: Live, client: Client, sample: bytes
) -> None:
    until(lambda: _is_untroubled(live, client, sample), 90, every_s=0.5)  # of the tests before
    with stopped(live.pids()["triton"]):
        accepted = [client.submit(sample)["id"] for _ in range(8)]
        warning = until(lambda: _troubled(live), 90, every_s=0.5)
        assert warning.endswith(" of 2 workers can't reach Triton or the images' store")
    for name in accepted:
        assert client.wait(name, timeout_s=90)["status"] == "succeeded"
    until(lambda: _is_untroubled(live, client, sample), 90, every_s=0.5)
