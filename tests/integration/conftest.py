"""Stacks for integration tests: real Redis, real Triton, the api and workers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sluice.local.stack import Stack, StackConfig
from sluice.local.supervision import shm
from sluice.local.supervision.state import StateDirectory
from tests.support.client import Client
from tests.support.live import Live, live_stack
from tests.support.paths import GOLDEN, NO_GOLDEN, ROOT

# Reference models whose head the whole pipeline is compared with. The configuration is one that a
# person would write. 26-detect was exported with `end2end` False, that is without that head.
GOLDEN_LAYOUTS = {"11-detect": "anchor-free", "v5-detect": "anchors", "26-detect": "anchor-free"}
GOLDEN_CONFIG = """
name: "%s"
backend: "onnxruntime"
max_batch_size: 8
parameters { key: "sluice.layout" value: { string_value: "%s" } }
parameters {
  key: "sluice.names"
  value: { string_value: "[\\"circle\\", \\"square\\", \\"triangle\\", \\"star\\"]" }
}
parameters { key: "sluice.imgsz" value: { string_value: "[320, 320]" } }
"""
QUICK = {
    # The loss of a killed worker is noticed in seconds, not in half a minute.
    "SLUICE_QUEUE_LEASE_S": "3",
    "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
    "SLUICE_TRITON_TIMEOUT_S": "10",
    "SLUICE_LIMITS_MAX_BYTES": "10000000",
    # The tests' own servers; every other loopback address stays refused.
    "SLUICE_NETGUARD_ALLOW": "127.0.0.1/32",
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the shipped models, and of the reference models where these exist."""
    directory = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "model_repository", directory, dirs_exist_ok=True)
    for name, layout in GOLDEN_LAYOUTS.items():
        if not NO_GOLDEN:
            (directory / name / "1").mkdir(parents=True)
            model = (GOLDEN / "models" / f"{name}.onnx").read_bytes()
            (directory / name / "1" / "model.onnx").write_bytes(model)
            (directory / name / "config.pbtxt").write_text(GOLDEN_CONFIG % (name, layout))
    return directory


@pytest.fixture(scope="session")
def live(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The stack that most tests share, with two workers."""
    state = tmp_path_factory.mktemp("state")
    options = ("--concurrency", "2", "--models", str(models))
    with live_stack(state, *options, workers=2, env=QUICK) as live:
        yield live
    assert shm.segments(StateDirectory(state).shm_prefix) == []


@pytest.fixture(scope="session")
def client(live: Live) -> Iterator[Client]:
    with Client(live.api) as client:
        yield client


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> Iterator[Stack]:
    """A stack of the module's own, with one worker and the module's settings, `STACK_ENV`."""
    state = tmp_path_factory.mktemp("stack")
    with Stack(
        StackConfig(state=state, models=models, port=0, env=request.module.STACK_ENV)
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx.Client]:
    """A client of the module's own stack."""
    with httpx.Client(base_url=stack.addresses.api, timeout=70) as client:
        yield client


@pytest.fixture(scope="session")
def sample() -> bytes:
    """A photo in which the shipped model finds something."""
    return (ROOT / "samples" / "desk.jpg").read_bytes()
