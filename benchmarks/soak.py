"""Memory over 50,000 predictions of 100 kB, with a Redis of 256 MB; it must not grow.

Old records are removed after a minute, instead of a day: the run reaches a steady state. After each
tenth, the benchmark prints the resident memory of every process, and Redis's own count.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
from PIL import Image

from benchmarks.common import client, resident_mb, stack
from sluice.client import Client, ServiceError

TOTAL = int(os.environ.get("SOAK_TOTAL", "50000"))
SIZE = 100_000
CLIENTS = 8


def main() -> None:
    environment = {
        "SLUICE_QUEUE_RETENTION_S": "60",
        "SLUICE_QUEUE_TOMBSTONE_S": "60",
        "SLUICE_QUEUE_MAX_BYTES": "100000000",
    }
    image = _image()
    with (
        stack(
            "redis", "triton", "worker", "api", redis_max_memory="256mb", env=environment
        ) as running,
        client(running) as redis,
    ):
        refused = 0

        def submit(_: int) -> int:
            refusals = 0
            while True:
                try:
                    service.submit(image, confidence=0.9)
                    return refusals
                except ServiceError as error:
                    if error.status not in (429, 503):
                        raise
                    refusals += 1
                    time.sleep(0.5)

        start = time.monotonic()
        with (
            Client(running.addresses.api, timeout_s=30, retry_for_s=0) as service,
            ThreadPoolExecutor(CLIENTS) as pool,
        ):
            for tenth in range(1, 11):
                refused += sum(pool.map(submit, range(TOTAL // 10)))
                while redis.zcard("{default}:live"):
                    time.sleep(0.1)
                sizes = {name: resident_mb(pid) for name, pid in running.pids.items()}
                used = redis.info("memory")["used_memory"] / 1e6
                line = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
                done, taken = tenth * TOTAL // 10, time.monotonic() - start
                print(
                    f"{done} in {taken:.0f} s, {refused} refused meanwhile;"
                    f" MB: {line}; Redis's own {used:.0f}",
                    flush=True,
                )


def _image() -> bytes:
    """A JPEG of about 100 kB, with few pixels: decoding is quick."""
    noise = np.random.default_rng(1).integers(0, 256, (240, 320, 3), np.uint8)
    out = BytesIO()
    Image.fromarray(noise).save(out, "JPEG", quality=95)
    return out.getvalue() + bytes(max(0, SIZE - out.tell()))
