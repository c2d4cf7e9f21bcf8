"""A model that hangs for ever in a real Triton, a Triton that stands still, and their ends."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from sluice.local.config import ALL_PARTS
from sluice.local.paths import MODEL_REPOSITORY
from sluice.local.servers import prometheus
from sluice.local.stack import Stack, StackConfig
from sluice.local.supervision.process import Spec
from sluice.local.supervision.supervisor import Kind, SupervisorEvent
from tests.support.client import Client
from tests.support.paths import ROOT
from tests.support.prometheus import impatient, needs_prometheus, run_prometheus
from tests.support.tritons import change_execute
from tests.support.waiting import until

from .conftest import adder

pytestmark = pytest.mark.integration

# The process keeps Python's lock for ever, as a deadlock in OpenVINO did.
HANGS_ONCE = """\
        import ctypes, os
        if os.path.exists(os.environ["HANGS_ONCE"]):
            os.unlink(os.environ["HANGS_ONCE"])
            ctypes.PyDLL(None).pause()
"""
SLOW = """\
        import time
        time.sleep(1)
"""


class Hanging:
    """Stacks whose Triton has a changed backend, and what they tell."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.trigger = folder / "hangs"
        self.events: list[SupervisorEvent] = []

    @contextmanager
    def stack(
        self, code: str, models: Path, *, parts: frozenset[str], **env: str
    ) -> Iterator[Stack]:
        def change(spec: Spec) -> Spec:
            if spec.name != "triton":
                return spec
            assert spec.cwd is not None
            change_execute(spec.cwd, code)
            return replace(spec, env={**spec.env, "HANGS_ONCE": str(self.trigger)})

        config = StackConfig(
            state=self._folder / "state", models=models, port=0, parts=parts, env=env
        )
        with Stack(config, self.events.append, change) as stack:
            yield stack

    def deaths(self) -> list[str]:
        return [event.text for event in self.events if event.kind is Kind.DIED]


@pytest.fixture
def hanging(tmp_path: Path) -> Hanging:
    return Hanging(tmp_path)


@pytest.fixture
def echo(tmp_path: Path, identity: bytes) -> Path:
    adder(tmp_path / "models")("echo", identity, "")
    return tmp_path / "models"


def infer(stack: Stack, timeout_s: float) -> bool:
    """True if the model answers in time."""
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}
    url = f"{stack.addresses.triton_http}/v2/models/echo/infer"
    try:
        return httpx.post(url, json=body, timeout=timeout_s).status_code == 200
    except httpx.HTTPError:
        return False


def test_predictions_of_a_model_that_hangs_succeed_once_triton_is_restarted(
    hanging: Hanging,
) -> None:
    image = ROOT / "samples" / "desk.jpg"
    with hanging.stack(
        HANGS_ONCE,
        MODEL_REPOSITORY,
        parts=ALL_PARTS,
        SLUICE_TRITON_TIMEOUT_S="1",
        SLUICE_TRITON_STUCK_AFTER_S="3",
    ) as stack:
        client = Client(stack.addresses.api)
        hanging.trigger.touch()
        made = [client.submit(image)["id"] for _ in range(3)]
        until(lambda: not hanging.trigger.exists(), what="the hang")
        assert httpx.get(f"{stack.addresses.triton_http}/v2/health/ready").status_code == 200
        made.append(client.submit(image)["id"])  # during the hang
        ends = [client.wait(prediction_id, timeout_s=120) for prediction_id in made]
        client.close()
    assert [end["status"] for end in ends] == ["succeeded"] * 4
    assert hanging.deaths()
    for death in hanging.deaths():
        assert death.startswith("triton has a model that hangs (codes): requests waited for 3 s")


def test_a_triton_that_stands_still_is_restarted(hanging: Hanging, echo: Path) -> None:
    with hanging.stack(
        "",
        echo,
        parts=frozenset({"triton"}),
        SLUICE_TRITON_STUCK_AFTER_S="3",
        SLUICE_TRITON_TIMEOUT_S="1",
    ) as stack:
        stopped = stack.pids["triton"]
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: stack.pids.get("triton", stopped) != stopped, what="another Triton")
        until(lambda: infer(stack, 1), what="an inference")
    (death,) = hanging.deaths()
    assert death.startswith("triton stands still: no answer came for 3 s")


def test_a_slow_model_that_makes_progress_is_left_alone(hanging: Hanging, echo: Path) -> None:
    with (
        hanging.stack(
            SLOW,
            echo,
            parts=frozenset({"triton"}),
            SLUICE_TRITON_TIMEOUT_S="1",
            SLUICE_TRITON_STUCK_AFTER_S="3",
        ) as stack,
        ThreadPoolExecutor(12) as callers,
    ):
        assert all(infer(stack, 60) for _ in range(3))  # the watch sees an empty queue first
        # At most four in a run: requests wait all the time, for longer than a hang would.
        assert all(callers.map(lambda _: infer(stack, 60), range(60)))
    assert not hanging.deaths()


@needs_prometheus
def test_the_alert_sees_a_real_hang(hanging: Hanging, echo: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(impatient({}).replace("[40s]", "[8s]"))
    with hanging.stack(
        HANGS_ONCE, echo, parts=frozenset({"triton"}), SLUICE_TRITON_STUCK_AFTER_S="0"
    ) as stack:
        config = prometheus.config(stack.addresses, tmp_path / "rules.yml", interval="1s")
        with run_prometheus(tmp_path, config) as judge, calling(lambda: infer(stack, 1)):
            until(lambda: judge.query("nv_inference_request_success > 3"), what="inferences")
            assert "SluiceModelHangs" not in judge.firing()
            hanging.trigger.touch()
            until(lambda: "SluiceModelHangs" in judge.firing(), what="the alert")
    assert not hanging.deaths(), "0 restarts nothing"


@contextmanager
def calling(call: Callable[[], object]) -> Iterator[None]:
    """Four callers, each of which calls again and again."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(0.2):
            call()

    callers = [threading.Thread(target=repeat) for _ in range(4)]
    for caller in callers:
        caller.start()
    try:
        yield
    finally:
        over.set()
        for caller in callers:
            caller.join()
