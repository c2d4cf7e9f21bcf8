"""The live stack: real Redis, real Triton, the api and two workers, started by the command that a person types."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.client.client import Client
from sluice.local.supervision import shm
from sluice.local.supervision.state import StateDirectory
from tests.support.live import WORKERS, Live
from tests.support.paths import GOLDEN, NO_GOLDEN, ROOT

# Of the reference models, those whose head the pipeline is held against; the configuration is what a person would write.
# 26-detect was exported without its end-to-end head: its metadata says end2end False.
GOLDEN_LAYOUTS = {"11-detect": "anchor-free", "v5-detect": "anchors", "26-detect": "anchor-free"}
GOLDEN_CONFIG = """
name: "%s"
backend: "onnxruntime"
max_batch_size: 8
parameters { key: "sluice.layout" value: { string_value: "%s" } }
parameters { key: "sluice.names" value: { string_value: "[\\"circle\\", \\"square\\", \\"triangle\\", \\"star\\"]" } }
parameters { key: "sluice.imgsz" value: { string_value: "[320, 320]" } }
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, and the reference ones where they are at hand."""
    directory = tmp_path_factory.mktemp("models")
    shutil.copytree(ROOT / "model_repository", directory, dirs_exist_ok=True)
    for name, layout in GOLDEN_LAYOUTS.items():
        if not NO_GOLDEN:
            (directory / name / "1").mkdir(parents=True)
            (directory / name / "1" / "model.onnx").write_bytes(
                (GOLDEN / "models" / f"{name}.onnx").read_bytes()
            )
            (directory / name / "config.pbtxt").write_text(GOLDEN_CONFIG % (name, layout))
    return directory


@pytest.fixture(scope="session")
def live(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    state = tmp_path_factory.mktemp("state")
    command = [
        sys.executable,
        "-m",
        "sluice",
        "up",
        "--json",
        "--port",
        "0",
        "--workers",
        str(WORKERS),
        "--concurrency",
        "2",
    ]
    command += ["--state", str(state), "--models", str(models)]
    # A worker that is killed is noticed in seconds, not in half a minute.
    quick = {
        "SLUICE_QUEUE_LEASE_S": "3",
        "SLUICE_QUEUE_SWEEP_INTERVAL_S": "0.5",
        "SLUICE_TRITON_TIMEOUT_S": "10",
    }
    quick["SLUICE_QUEUE_VISIBILITY_TIMEOUT_S"] = "2"
    quick["SLUICE_LIMITS_MAX_BYTES"] = "10000000"
    quick["SLUICE_NETGUARD_ALLOW"] = (
        "127.0.0.1/32"  # the tests' own servers; the rest of loopback is refused as ever
    )
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **quick}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"sluice up ended with {process.wait()}"
        said = json.loads(line)
        addresses = {
            name: said["addresses"][name] for name in ("api", "redis", "triton_http", "triton_grpc")
        }
        yield Live(**addresses, state=Path(said["state"]), process=process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == ""
        assert shm.segments(StateDirectory(state).shm_prefix) == []


@pytest.fixture(scope="session")
def client(live: Live) -> Iterator[Client]:
    with Client(live.api) as client:
        yield client


@pytest.fixture(scope="session")
def sample() -> bytes:
    """A photo in which the shipped model finds something."""
    return (ROOT / "samples" / "desk.jpg").read_bytes()
