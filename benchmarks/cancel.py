"""Sliced predictions that are canceled while they run: the batches of tiles that run after that.

One worker runs one prediction at a time. Each round submits a large image, and cancels the
prediction at a random moment of its run. Then a small image runs: the worker has left the canceled
prediction by then. Triton counts the inferences.
"""

import os
import random
import re
import time
from collections import Counter

import httpx

from benchmarks.common import IMAGE, stack
from benchmarks.scenes import KINDS, render
from benchmarks.slicing import encode
from sluice.client import Client

COUNT = int(os.environ.get("CANCEL_TOTAL", "100"))
SLICE = 320
LATEST_S = 1.5
"""The latest cancel after the start, which is well before the end of all tiles."""


def main() -> None:
    image = encode(render(next(iter(KINDS))).image, 92)
    dice = random.Random(12)
    with (
        stack("redis", "triton", "worker", "api", concurrency=1) as running,
        Client(running.addresses.api, timeout_s=120) as client,
    ):
        before = inferences(running.addresses.metrics)
        client.run(image, slice=SLICE)
        usual = inferences(running.addresses.metrics) - before
        print(f"uncanceled: {usual} inferences; {COUNT} are canceled")
        ran, after = Counter[int](), Counter[int]()
        for _ in range(COUNT):
            begun, further = cancel_one(
                client, running.addresses.metrics, image, SLICE, dice.uniform(0, LATEST_S)
            )
            ran[begun] += 1
            after[further] += 1
    print(f"inferences before the cancel's answer: {min(ran)} to {max(ran)}; none for {ran[0]}")
    for further, count in sorted(after.items()):
        print(f"  {further} further after it: {count:>4} predictions")


def cancel_one(
    client: Client, metrics: str, image: bytes, size: int, delay_s: float
) -> tuple[int, int]:
    """Cancel a sliced prediction `delay_s` after it began.

    Return its inferences before the cancel's answer, and those that ended later. Needs one worker
    that runs one prediction at a time, and nobody else.
    """
    start = inferences(metrics)
    prediction = client.submit(image, slice=size)
    while client.get(prediction.id).status != "processing":
        time.sleep(0.005)
    time.sleep(delay_s)
    ended = client.cancel(prediction.id)
    answered = inferences(metrics)
    assert ended.status == "canceled", ended.status
    client.run(IMAGE)
    return answered - start, inferences(metrics) - 1 - answered


def inferences(metrics: str) -> int:
    """Triton's count of requests that an engine has answered."""
    text = httpx.get(metrics, timeout=30).text
    found = re.search(r'^nv_inference_request_success\{model="codes".*\} (\d+)', text, re.MULTILINE)
    assert found, "Triton counts no inferences of the model"
    return int(found[1])
