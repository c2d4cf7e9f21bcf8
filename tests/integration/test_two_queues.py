"""Two queues on two real Redis servers behind one address, by ids and a real nginx."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from sluice.local.stack import Stack, StackConfig
from tests.support.client import Client
from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.waiting import until

NGINX = shutil.which("nginx")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(NGINX is None, reason="needs nginx, such as Debian's package nginx-light"),
]
COUNT = 12


@dataclass
class Router:
    """The address of both queues, and the stacks behind it."""

    url: str
    stacks: dict[str, Stack]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    folder = tmp_path_factory.mktemp("queues")
    models = ROOT / "model_repository"
    parts = frozenset({"redis", "api", "worker"})

    def config(prefix: str, parts: frozenset[str], **env: str) -> StackConfig:
        env["SLUICE_QUEUE_ID_PREFIX"] = prefix
        return StackConfig(state=folder / prefix, models=models, port=0, env=env, parts=parts)

    with Stack(config("a", parts | {"triton"})) as first:
        shared = {
            "SLUICE_TRITON_HTTP_URL": first.addresses.triton_http,
            "SLUICE_TRITON_GRPC_URL": first.addresses.triton_grpc,
        }
        with Stack(config("b", parts, **shared)) as second, _nginx(folder, first, second) as url:
            yield Router(url, {"a": first, "b": second})


class _nginx:  # noqa: N801  a context manager
    """The shipped configuration, with the addresses of two apis and a free port."""

    def __init__(self, folder: Path, first: Stack, second: Stack) -> None:
        self._folder = folder
        self._port = free_port()
        text = (ROOT / "compose" / "queues.nginx.conf").read_text()
        for name, value in (
            ("api-a:8080", first.addresses.api.removeprefix("http://")),
            ("api-b:8080", second.addresses.api.removeprefix("http://")),
            ("listen 8080", f"listen 127.0.0.1:{self._port}"),
        ):
            assert name in text
            text = text.replace(name, value)
        temporary = "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(
            f"{user}daemon off;\npid {folder}/nginx.pid;\nworker_processes 1;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{temporary}{text}}}\n"
        )

    def __enter__(self) -> str:
        assert NGINX
        log = str(self._folder / "error.log")
        self._process = subprocess.Popen(
            [NGINX, "-c", str(self._folder / "nginx.conf"), "-e", log, "-p", str(self._folder)]
        )
        url = f"http://127.0.0.1:{self._port}"

        def answers() -> bool:
            try:
                return httpx.get(f"{url}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)
        return url

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(timeout=20)


def test_predictions_run_on_both_queues_and_are_found_at_one_address(
    router: Router, sample: bytes
) -> None:
    with Client(router.url) as client:
        ids = [client.submit(sample)["id"] for _ in range(COUNT)]
        ended = [client.wait(prediction_id, timeout_s=120) for prediction_id in ids]
    assert {prediction_id[0] for prediction_id in ids} == {"a", "b"}
    assert {prediction["status"] for prediction in ended} == {"succeeded"}
    for prefix, stack in router.stacks.items():
        with httpx.Client(base_url=stack.addresses.api) as http:
            own = {entry["id"] for entry in http.get("/v1/predictions?limit=100").json()["results"]}
        assert own == {prediction_id for prediction_id in ids if prediction_id[0] == prefix}


def test_a_key_or_an_id_of_ones_own_makes_one_prediction(router: Router, sample: bytes) -> None:
    url = f"{router.url}/v1/predictions"
    with httpx.Client(timeout=30) as http:
        for number in range(COUNT // 2):
            headers = {"Content-Type": "image/jpeg", "Idempotency-Key": f"key {number}"}
            first, second = (http.post(url, content=sample, headers=headers) for _ in range(2))
            assert first.json()["id"] == second.json()["id"]
            own = f"{url}/z-own-{number}"
            headers.pop("Idempotency-Key")
            assert http.put(own, content=sample, headers=headers).status_code == 202
            assert http.get(own).json()["id"] == f"z-own-{number}"


def test_a_batch_stays_on_its_queue(router: Router, sample: bytes) -> None:
    with httpx.Client(base_url=router.url, timeout=30) as http:
        batch = http.post("/v1/batches", files=[("image", sample), ("image", sample)]).json()
        until(lambda: http.get(batch["urls"]["get"]).json()["status"] == "succeeded", 120)
        items = http.get(batch["urls"]["predictions"]).json()["results"]
    assert {item["id"][0] for item in items} == {batch["id"][0]}


def test_one_queue_goes_on_without_the_other(router: Router, sample: bytes) -> None:
    os.kill(router.stacks["b"].pids["redis"], signal.SIGSTOP)
    try:
        with httpx.Client(timeout=30) as http:
            own = f"{router.url}/v1/predictions/a-own"
            answer = http.put(own, content=sample, headers={"Content-Type": "image/jpeg"})
            assert answer.status_code == 202
            until(lambda: http.get(own).json()["status"] == "succeeded", 60)
            other = f"{router.url}/v1/predictions/b-own"
            answer = http.put(other, content=sample, headers={"Content-Type": "image/jpeg"})
            assert answer.status_code == 503
    finally:
        os.kill(router.stacks["b"].pids["redis"], signal.SIGCONT)
