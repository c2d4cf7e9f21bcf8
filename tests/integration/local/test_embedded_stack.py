"""The embedded stack with real servers: deaths, restarts, and stops that leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from sluice.errors import LocalStackError
from sluice.local.paths import CHECKOUT
from sluice.local.stack import Stack, StackConfig
from sluice.local.supervision import reaper, shm
from sluice.local.supervision.state import StateDirectory
from sluice.local.supervision.supervisor import Kind
from tests.support.waiting import until

from .conftest import adder

pytestmark = pytest.mark.integration

UP = [sys.executable, "-m", "sluice", "up"]


def left(pids: dict[str, int]) -> list[reaper.ProcessInfo]:
    """The running processes of these ids, or in their groups.

    The supervisor is left out, since the test itself may be the supervisor.
    """
    numbers = {pid for name, pid in pids.items() if name != "supervisor"}
    return [
        process
        for process in reaper.processes()
        if not process.is_dead and (process.pid in numbers or process.group in numbers)
    ]


@pytest.fixture
def models(tmp_path: Path, identity: bytes) -> Path:
    adder(tmp_path / "models")("echo", identity, "")
    return tmp_path / "models"


def model_is_ready(stack: Stack) -> bool:
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    try:
        answer = httpx.post(
            f"{stack.addresses.triton_http}/v2/models/echo/infer", json=body, timeout=10
        )
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [1, 2]


def test_redis_loses_nothing_when_it_is_killed(start: Callable[..., Stack], models: Path):
    events = []
    stack = start(models, parts=frozenset({"redis"}), tell=events.append)
    with redis.Redis.from_url(stack.addresses.redis) as client:
        client.set("key", "value")
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    os.kill(stack.pids["redis"], signal.SIGKILL)
    until(lambda: [event.kind for event in events].count(Kind.READY) == 2)
    with redis.Redis.from_url(stack.addresses.redis) as client:
        assert client.get("key") == b"value"


def test_triton_is_restarted_when_it_or_a_models_process_is_killed(
    start: Callable[..., Stack], models: Path
):
    """A killed Triton leaves no shared memory."""
    events = []
    stack = start(models, parts=frozenset({"triton"}), tell=events.append)
    assert model_is_ready(stack)
    first, before = stack.pids["triton"], set(shm.segments(stack.shm_prefix))
    assert before
    os.kill(first, signal.SIGKILL)
    until(lambda: [event.kind for event in events].count(Kind.READY) == 2)
    assert not left({"triton": first})
    assert not before & set(shm.segments(stack.shm_prefix))
    assert model_is_ready(stack)
    assert any(event.kind is Kind.DIED and "killed by signal 9" in event.text for event in events)
    written = json.loads((stack.state.directory / "stack.json").read_text())
    second = stack.pids["triton"]
    assert written["pids"]["triton"] == second != first
    (stub,) = [process.pid for process in reaper.processes() if process.parent == second]
    os.kill(stub, signal.SIGKILL)
    until(lambda: [event.kind for event in events].count(Kind.READY) == 3)
    assert any("lost the process of a model" in event.text for event in events)
    assert model_is_ready(stack)


def test_nothing_is_left_after_a_stop(start: Callable[..., Stack], models: Path):
    stack = start(models)
    assert model_is_ready(stack)
    pids = stack.pids
    assert set(pids) == {"redis", "triton", "reaper"}
    assert len(left(pids)) == 4  # one of them is the model's own
    started = time.monotonic()
    stack.stop()
    assert time.monotonic() - started < 20  # 5 s, and the rest for a busy machine
    assert not left(pids)
    assert not shm.segments(stack.shm_prefix)
    assert not (stack.state.directory / "stack.json").exists()
    stack.start()  # a stopped stack can start again
    assert model_is_ready(stack)


def test_a_second_stack_on_the_same_directory_is_refused(start: Callable[..., Stack], models: Path):
    stack = start(models, parts=frozenset({"redis"}))
    second = Stack(
        StackConfig(state=stack.state.directory, models=models, port=0, parts=frozenset({"redis"}))
    )
    with pytest.raises(LocalStackError, match=f"already runs on .*process {os.getpid()}"):
        second.start()
    with redis.Redis.from_url(stack.addresses.redis) as client:
        assert client.ping()


def test_a_missing_model_repository_is_refused(start: Callable[..., Stack], tmp_path: Path):
    with pytest.raises(LocalStackError, match=r"no model repository at .*--models"):
        start(tmp_path / "nowhere")


def test_two_stacks_run_side_by_side(models: Path, tmp_path: Path):
    """Without a chosen port, a stack takes the default ports; a taken one is replaced and named."""
    only_redis = frozenset({"redis"})
    messages: list[str] = []
    first = StackConfig(state=tmp_path / "first", models=models, parts=only_redis)
    other = StackConfig(state=tmp_path / "other", models=models, parts=only_redis)
    with (
        Stack(first) as first_stack,
        Stack(other, tell=lambda event: messages.append(event.text)) as other_stack,
    ):
        assert first_stack.addresses.redis != other_stack.addresses.redis
        assert any("port 6379 is taken; redis listens on" in line for line in messages)


Up = Callable[..., "tuple[subprocess.Popen[str], dict[str, Any]]"]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Runs `sluice up --json`; returns the process and the printed description, when ready."""
    processes = []

    def up(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        state = str(tmp_path / "state")
        with (tmp_path / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [*UP, "--json", "--port", "0", "--state", state, *arguments],
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (tmp_path / "stderr").read_text()
        return process, json.loads(line)

    yield up
    for process in processes:
        if process.returncode is None:
            process.terminate()
            process.communicate()


def stops(process: "subprocess.Popen[str]", pids: dict[str, int], number: signal.Signals) -> None:
    """A signal ends the command, with success, and nothing is left."""
    started = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 20  # 5 s, and the rest for a busy machine
    assert (process.returncode, out) == (0, "")
    assert not left(pids)


def test_one_command_starts_the_whole_stack_and_ctrl_c_stops_it(up: Up, tmp_path: Path):
    process, description = up("--workers", "2")
    assert set(description) == {"addresses", "models", "pids", "state"}
    assert set(description["addresses"]) == {
        "api",
        "redis",
        "triton_http",
        "triton_grpc",
        "metrics",
        "process_metrics",
        "ui",
    }
    assert set(description["pids"]) == {
        "supervisor",
        "reaper",
        "redis",
        "triton",
        "worker-1",
        "worker-2",
        "webhooks",
        "api",
    }
    assert description["pids"]["supervisor"] == process.pid
    assert json.loads((Path(description["state"]) / "stack.json").read_text()) == description
    assert httpx.get(f"{description['addresses']['api']}/readyz").status_code == 200
    assert "nv_inference_count" in httpx.get(description["addresses"]["metrics"]).text
    stops(process, description["pids"], signal.SIGINT)
    assert not shm.segments(StateDirectory(Path(description["state"])).shm_prefix)
    assert f"ready: {description['addresses']['api']}" in (tmp_path / "stderr").read_text()


def test_nothing_is_left_when_the_command_is_killed_or_told_to_stop(up: Up):
    process, description = up()
    process.kill()
    process.communicate()
    segments = StateDirectory(Path(description["state"])).shm_prefix
    until(lambda: not left(description["pids"]), what="the end of all processes")
    until(lambda: not shm.segments(segments), what="the end of all shared memory")
    process, again = up()  # the data are intact, and the directory is free
    assert httpx.get(f"{again['addresses']['api']}/readyz").status_code == 200
    stops(process, again["pids"], signal.SIGTERM)
    assert not shm.segments(segments)


def test_the_next_stack_ends_the_leftovers_of_a_killed_reaper(
    start: Callable[..., Stack], models: Path, tmp_path: Path
):
    script = (
        "import time; from pathlib import Path\n"
        "from sluice.local.stack import Stack, StackConfig\n"
        f"state = Path({str(tmp_path / 'state')!r})\n"
        "stack = Stack(StackConfig(state=state, port=0, parts=frozenset({'redis'})))\n"
        "stack.start(); print(stack.pids['redis'], stack.pids['reaper'], flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        server, reaper_pid = map(int, process.stdout.readline().split())
        process.send_signal(
            signal.SIGSTOP
        )  # otherwise the process would notice the end of its reaper
        os.kill(reaper_pid, signal.SIGKILL)
        process.kill()
    assert left({"redis": server})
    events = []
    stack = start(models, parts=frozenset({"redis"}), tell=events.append)
    assert not left({"redis": server})
    assert f"ended process {server}, left here by a stack that was killed" in [
        event.text for event in events
    ]
    assert stack.pids["redis"] != server


def test_up_prints_one_error_line_and_exits_with_1(tmp_path: Path):
    command = [*UP, "--models", str(tmp_path / "nowhere"), "--state", str(tmp_path)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no model repository")
    assert "Traceback" not in done.stderr
