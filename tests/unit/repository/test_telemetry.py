"""Nothing about a model or its machine is reported to the maker of a library."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

RUN = "import sluice.repository.running, onnxruntime; print(onnxruntime.get_device())"


def test_onnx_runtime_keeps_no_identifier_of_the_machine(tmp_path: Path) -> None:
    env = {"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", RUN],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout == "CPU\n", ended.stderr
    assert list(tmp_path.iterdir()) == []
