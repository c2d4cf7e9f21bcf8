"""Freed memory stays with the process. Tested in a process of its own: the choice is for good."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
import cv2, numpy as np
from worker.decode import decode
from worker.malloc import keep_freed

assert keep_freed(int(sys.argv[1]))

def faults(height, width, times=20):
    image = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    data = cv2.imencode(".jpg", cv2.resize(image, (width, height)))[1].tobytes()
    del image
    decode(data, 10**8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        decode(data, 10**8)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / times

print(faults(1080, 808), faults(3000, 4000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's options")
def test_memory_of_one_image_serves_the_next_one_without_a_page_fault() -> None:
    medium, large = _faults_an_image(16 * 2**20)
    assert medium < 50, "the memory went back to the system"
    assert large > 500, "a block beyond the bound stays with the process"


def _faults_an_image(size: int) -> list[float]:
    ended = subprocess.run(
        [sys.executable, "-c", _FAULTS, str(size)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [float(word) for word in ended.stdout.split()]
