"""Redis and Triton as `sluice up` runs them: what happens when they die, and what is left when all is over."""

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

from .conftest import adder

pytestmark = pytest.mark.integration

PATIENCE_S = 60.0
COMMANDS = "import typer; from sluice.cli import up; app = typer.Typer(); app.command()(up.up);"


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (result := condition()):
        assert time.monotonic() < end, f"{what} did not happen"
        time.sleep(0.05)
    return result


def left(pids: dict[str, int]) -> list[reaper.ProcessInfo]:
    """Processes of these ids or in their groups that still run; the supervisor, which may be this process, left out."""
    numbers = {pid for name, pid in pids.items() if name != "supervisor"}
    return [
        seen
        for seen in reaper.processes()
        if seen.state not in "ZX" and (seen.pid in numbers or seen.group in numbers)
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


def test_triton_that_is_killed_comes_back_and_leaves_no_memory(
    start: Callable[..., Stack], models: Path
):
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
    assert written["pids"]["triton"] == stack.pids["triton"] != first


def test_a_models_process_that_is_killed_comes_back(start: Callable[..., Stack], models: Path):
    events = []
    stack = start(models, parts=frozenset({"triton"}), tell=events.append)
    (stub,) = [seen.pid for seen in reaper.processes() if seen.parent == stack.pids["triton"]]
    os.kill(stub, signal.SIGKILL)
    until(lambda: [event.kind for event in events].count(Kind.READY) == 2)
    assert any("lost the process of a model" in event.text for event in events)
    assert model_is_ready(stack)


def test_nothing_is_left_after_a_stop(start: Callable[..., Stack], models: Path):
    stack = start(models)
    assert model_is_ready(stack)
    pids = stack.pids
    assert set(pids) == {"redis", "triton", "reaper"}
    assert len(left(pids)) == 4  # with the model's own
    started = time.monotonic()
    stack.stop()
    assert time.monotonic() - started < 20  # 5 s, and the rest for a busy machine
    assert not left(pids)
    assert not shm.segments(stack.shm_prefix)
    assert not (stack.state.directory / "stack.json").exists()
    stack.start()  # and it can be started again
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


def test_a_repository_that_is_missing(start: Callable[..., Stack], tmp_path: Path):
    with pytest.raises(LocalStackError, match=r"no model repository at .*--models"):
        start(tmp_path / "nowhere")


def test_two_stacks_side_by_side(models: Path, tmp_path: Path):
    """Whoever leaves the ports open gets the usual ones, and is told where they are taken."""
    only_redis = frozenset({"redis"})
    said: list[str] = []
    first = StackConfig(state=tmp_path / "first", models=models, parts=only_redis)
    other = StackConfig(state=tmp_path / "other", models=models, parts=only_redis)
    with Stack(first) as one, Stack(other, tell=lambda event: said.append(event.text)) as two:
        assert one.addresses.redis != two.addresses.redis
        assert any("port 6379 is taken; redis listens on" in line for line in said)


Up = Callable[..., "tuple[subprocess.Popen[str], dict[str, Any]]"]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """`sluice up --json` as a process of its own, when it is ready, and what it printed."""
    processes = []

    def up(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        state = str(tmp_path / "state")
        with (tmp_path / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    f"{COMMANDS} app()",
                    "--json",
                    "--port",
                    "0",
                    "--state",
                    state,
                    *arguments,
                ],
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_whole_stack_by_one_command(up: Up, tmp_path: Path, number: signal.Signals):
    process, said = up("--workers", "2")
    assert set(said) == {"addresses", "pids", "state"}
    assert set(said["addresses"]) == {"api", "redis", "triton_http", "triton_grpc", "metrics"}
    assert set(said["pids"]) == {
        "supervisor",
        "reaper",
        "redis",
        "triton",
        "worker-1",
        "worker-2",
        "webhooks",
        "api",
    }
    assert said["pids"]["supervisor"] == process.pid
    assert json.loads((Path(said["state"]) / "stack.json").read_text()) == said
    assert httpx.get(f"{said['addresses']['api']}/readyz").status_code == 200
    assert "nv_inference_count" in httpx.get(said["addresses"]["metrics"]).text
    started = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 20  # 5 s, and the rest for a busy machine
    assert (process.returncode, out) == (0, "")
    assert not left(said["pids"])
    assert not shm.segments(StateDirectory(Path(said["state"])).shm_prefix)
    assert f"ready: {said['addresses']['api']}" in (tmp_path / "stderr").read_text()


def test_nothing_is_left_when_the_command_is_killed(up: Up):
    process, said = up()
    process.kill()
    process.communicate()
    until(lambda: not left(said["pids"]), "the end of all processes")
    until(
        lambda: not shm.segments(StateDirectory(Path(said["state"])).shm_prefix),
        "the end of all shared memory",
    )
    _, again = up()  # its data are whole, and nothing holds the directory
    assert httpx.get(f"{again['addresses']['api']}/readyz").status_code == 200


def test_what_a_killed_guard_could_not_end_is_ended_by_the_next_stack(
    start: Callable[..., Stack], models: Path, tmp_path: Path
):
    script = (
        "import time; from pathlib import Path; from sluice.local.stack import *\n"
        f"stack = Stack(StackConfig(state=Path({str(tmp_path / 'state')!r}), port=0, parts=frozenset({{'redis'}})))\n"
        "stack.start(); print(stack.pids['redis'], stack.pids['reaper'], flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        server, watcher = map(int, process.stdout.readline().split())
        process.send_signal(signal.SIGSTOP)  # lest it sees its guard's end
        os.kill(watcher, signal.SIGKILL)
        process.kill()
    assert left({"redis": server})
    events = []
    stack = start(models, parts=frozenset({"redis"}), tell=events.append)
    assert not left({"redis": server})
    assert f"ended process {server}, left here by a stack that was killed" in [
        event.text for event in events
    ]
    assert stack.pids["redis"] != server


def test_an_error_is_one_line_and_exit_status_1(tmp_path: Path):
    command = [
        sys.executable,
        "-c",
        f"{COMMANDS} app()",
        "--models",
        str(tmp_path / "nowhere"),
        "--state",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no model repository")
    assert "Traceback" not in done.stderr
