"""The benchmark on a GPU, as far as a machine without one can tell."""

import os
from pathlib import Path

import pytest

from benchmarks.gpu import devices, server
from benchmarks.gpu.__main__ import NOT_MEASURED, Row, main
from tests.support.paths import ROOT
from tests.support.waiting import until

FAKE = """#!/bin/sh
case "$*" in
  *--query-gpu=name*) echo "Test GPU" ;;
  *) printf '80\\n[N/A]\\n40\\n'; exec sleep 60 ;;
esac
"""


@pytest.fixture
def one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in the place of nvidia-smi."""
    program = tmp_path / "nvidia-smi"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_without_a_gpu_the_script_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert main() == NOT_MEASURED
    assert "nvidia-smi names no GPU" in capsys.readouterr().out


def test_without_triton_the_script_says_what_to_do(
    one_gpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/nowhere")
    monkeypatch.setattr(server, "BACKEND", tmp_path / "none")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho Test GPU\n")
    monkeypatch.setattr("sys.argv", ["gpu"])
    assert main() == NOT_MEASURED
    assert "--triton HOST:HTTP_PORT:GRPC_PORT" in capsys.readouterr().out


def test_the_busy_share_is_the_mean_of_the_samples(one_gpu: None) -> None:
    assert devices.names() == ["Test GPU"]
    with devices.Busy() as busy:
        until(lambda: len(busy.samples) == 2)
    assert busy.share == pytest.approx(0.6)


def test_tensorrt_replaces_the_engine_for_cpus() -> None:
    config = (ROOT / "model_repository" / "codes" / "config.pbtxt").read_text()
    changed = server.with_tensorrt(config)
    assert "openvino" in config
    assert "openvino" not in changed
    assert changed.count("optimization {") == 1
    assert "tensorrt" in changed
    assert "dynamic_batching" in changed


def test_the_image_is_the_one_that_the_dockerfile_builds_on() -> None:
    assert server.image().startswith("nvcr.io/nvidia/tritonserver:")


def test_cores_for_a_gpu_follow_from_the_busy_share() -> None:
    row = Row(16, per_s=500.0, median_ms=1, p95_ms=1, cpu_ms=8.0, batch=4.0, busy=0.25)
    assert row.cores == pytest.approx(4.0)
    assert row.cores_for_a_gpu == pytest.approx(16.0)
    assert "16.0" in row.line()
