"""Alerts and dashboards against a real Prometheus that scrapes a live stack.

Every expression of a dashboard returns data under a little load. Every alert fires after the damage
that it is for, or is in `BY_UNIT_TEST`. Waiting times and thresholds in time are shortened.
"""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import redis

from sluice.local.servers import prometheus
from sluice.local.stack import Stack
from tests.support.prometheus import (
    Prometheus,
    alerts,
    impatient,
    needs_prometheus,
    panel_queries,
    run_prometheus,
)
from tests.support.servers import stopped
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, needs_prometheus]

STACK_ENV = {
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
    "SLUICE_QUEUE_LEASE_S": "3",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
    "SLUICE_QUEUE_MAX_RETRIES": "1",
    "SLUICE_QUEUE_MAX_SHARED_LAPSES": "1",
    "SLUICE_QUEUE_MAX_LONE_LAPSES": "1",
    "SLUICE_REDIS_TIMEOUT_S": "0.2",
    "SLUICE_TRITON_TIMEOUT_S": "1",
    "SLUICE_WEBHOOKS_SCHEDULE_S": "0.5,4",
    "SLUICE_WEBHOOKS_SWEEP_INTERVAL_S": "0.5",
}
QUICKER = {
    "SluiceQueueStuck": ("> 300", "> 2"),
    "SluiceBacklogSlow": ("> 600", "> 5"),
    "SluiceKeeperSilent": ("> 60", "> 3"),
    "SluiceDeliveriesLate": ("> 3600", "> 2"),
}
BY_UNIT_TEST = {
    "SluiceRedisFillsUp": "a forecast for hours needs hours of growth",
    "SluiceModelHangs": "a backend that hangs; tests/integration/local/test_hangs.py has one",
}
FIRED: set[str] = set()
needs_time = pytest.mark.skipif(
    not os.environ.get("SLUICE_DAMAGE"),
    reason="the damage for each alert takes two minutes: SLUICE_DAMAGE=1, as `make chaos` has it",
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    """The URL of a server that answers 200, and 500 to paths that end with `bad`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(500 if self.path.endswith("bad") else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def judge(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that scrapes the stack, with rules that wait for nothing."""
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "rules.yml").write_text(impatient(QUICKER))
    config = prometheus.config(stack.addresses, folder / "rules.yml", interval="1s")
    with run_prometheus(folder, config) as judge:
        until(lambda: set(judge.targets().values()) == {"up"}, what="every target")
        yield judge


def submit(
    http: httpx.Client, sample: bytes, *, webhook: str = "", start_within: str = ""
) -> httpx.Response:
    headers = {"Cancel-After": start_within} if start_within else {}
    fields = {"webhook": webhook} if webhook else {}
    return http.post("/v1/predictions", files={"image": sample}, data=fields, headers=headers)


def expect(judge: Prometheus, *names: str, within_s: float = 30) -> None:
    """Return once all these alerts have fired."""
    missing = set(names)

    def all_fired() -> bool:
        missing.difference_update(judge.firing())
        return not missing

    try:
        until(all_fired, within_s, every_s=0.2)
    except AssertionError:
        raise AssertionError(f"did not fire: {sorted(missing)}") from None
    FIRED.update(names)


def status(http: httpx.Client, prediction_id: str) -> str:
    value: str = http.get(f"/v1/predictions/{prediction_id}").json()["status"]
    return value


def test_expressions_return_data_and_a_failing_receiver_is_noticed(
    stack: Stack, http: httpx.Client, judge: Prometheus, sample: bytes, receiver: str
) -> None:
    for path in ("good", "good", "bad"):
        assert submit(http, sample, webhook=f"{receiver}/{path}").status_code == 202
    assert http.post("/v1/predictions?wait=20", files={"image": sample}).status_code == 201
    assert http.post("/v1/predictions", content=b"no image").status_code == 415
    queries = list(panel_queries("10s"))
    empty = [name for name, _ in queries]

    def all_return_data() -> bool:
        submit(http, sample)
        http.post("/v1/predictions", content=b"no image")
        empty[:] = [name for name, query in queries if not judge.query(query)]
        return not empty

    try:
        until(all_return_data, 20, every_s=0.5)
    except AssertionError:
        raise AssertionError(f"no data: {empty}") from None
    for expression in alerts().values():
        judge.query(expression)
    expect(judge, "SluiceReceiverFailing", "SluiceDeliveriesLate", "SluiceDeliveriesDead")


def test_every_part_passes_promtool(stack: Stack) -> None:
    addresses = stack.addresses
    for url in (f"{addresses.api}/metrics", *addresses.process_metrics.values()):
        text = httpx.get(url).content
        command = ["promtool", "check", "metrics"]
        ours = subprocess.run(command, check=False, input=text, capture_output=True)
        assert ours.stderr.decode().splitlines() == [], url


@needs_time
def test_workers_that_die_lose_leases_and_make_dead_letters(
    stack: Stack, http: httpx.Client, judge: Prometheus, sample: bytes
) -> None:
    with stopped(stack.pids["triton"]):
        prediction_id = submit(http, sample).json()["id"]
        for _ in range(2):
            until(lambda: status(http, prediction_id) == "processing", 30)
            os.kill(stack.pids["worker-1"], signal.SIGKILL)
            until(lambda: status(http, prediction_id) != "processing", 30)
        assert status(http, prediction_id) == "failed"
        expect(judge, "SluiceDeadLetters", "SluiceLeasesLapse", "SluiceTritonDown")


@needs_time
def test_without_triton_the_queue_is_stuck_and_without_workers_too(
    stack: Stack, http: httpx.Client, judge: Prometheus, sample: bytes, receiver: str
) -> None:
    with stopped(stack.pids["triton"]):
        answers = [submit(http, sample) for _ in range(7)]
        answers.append(submit(http, sample, webhook=f"{receiver}/good"))
        submit(http, sample, start_within="1s")
        expect(
            judge,
            *("SluiceWorkersTroubled", "SluiceQueueStuck", "SluiceBacklogSlow"),
            *("SluicePredictionsAborted", "SluicePredictionsFailing"),
            within_s=90,  # the breaker's probes fail one by one
        )
        with stopped(stack.pids["worker-1"], stack.pids["webhooks"]):
            http.post(f"/v1/predictions/{answers[-1].json()['id']}/cancel")
            expect(judge, "SluiceNoWorkers", "SluiceKeeperSilent", "SluiceNoSenders")


@needs_time
def test_a_full_redis_is_noticed_before_and_when_it_refuses(
    stack: Stack, http: httpx.Client, judge: Prometheus, sample: bytes
) -> None:
    with redis.Redis.from_url(stack.addresses.redis) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.9))

        def refused() -> bool:
            return submit(http, sample).status_code == 429

        try:
            until(refused, 10)
            refused()
            expect(judge, "SluiceRedisNearlyFull", "SluiceQueueNearlyFull", "SluiceRefusing")
        finally:
            client.config_set("maxmemory", before)


@needs_time
def test_an_api_or_a_redis_that_hangs_is_noticed(stack: Stack, judge: Prometheus) -> None:
    with stopped(stack.pids["redis"]):
        expect(judge, "SluiceRedisDown")
    with stopped(stack.pids["api"]):
        expect(judge, "SluiceApiDown", "SluiceTargetDown")


@needs_time
def test_lost_data_is_noticed_and_all_other_alerts_end(
    stack: Stack, judge: Prometheus, tmp_path: Path
) -> None:
    with redis.Redis.from_url(stack.addresses.redis) as client:
        client.flushall()
    expect(judge, "SluiceDataLost")
    assert alerts().keys() - FIRED == BY_UNIT_TEST.keys()
    until(lambda: judge.firing() <= {"SluiceDataLost"}, 60, what="the end of the other alerts")
