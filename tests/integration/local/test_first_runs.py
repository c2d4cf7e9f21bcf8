"""The first runs of an engine may come together, on all its lanes. No process may hang then."""

import subprocess

import pytest

from sluice.local.paths import BACKENDS, MODEL_REPOSITORY
from sluice.local.servers import triton_env

pytestmark = pytest.mark.integration

TIMES = 6
# Threads change so often that two of them meet in the first call: without care, one process in two
# hung.
FIRST_RUNS = """
import os, sys, threading
sys.setswitchinterval(1e-6)
import numpy as np
import engines
lanes = getattr(engines, sys.argv[1])(sys.argv[2], {}, 4).lanes()
together = threading.Barrier(len(lanes))
feed = {"images": np.zeros((1, 416, 416, 3), np.uint8)}
def first(run):
    together.wait()
    run(["output0"], feed)
threads = [threading.Thread(target=first, args=(run,), daemon=True) for run in lanes]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
os._exit(0)
"""


@pytest.mark.parametrize("engine", ["OpenVino", "OnnxRuntime"])
def test_the_first_runs_may_come_together(engine: str) -> None:
    python = triton_env.ensure().directory / "bin" / "python"
    model = MODEL_REPOSITORY / "codes" / "1" / "model.onnx"
    for _ in range(TIMES):
        subprocess.run(
            [python, "-c", FIRST_RUNS, engine, model],
            cwd=BACKENDS / "onnxruntime",
            timeout=60,
            check=True,
        )
