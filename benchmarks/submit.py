"""`sluice submit` over thousands of images, while the api and the command itself are killed.

`python -m benchmarks.submit --images 10000`: the api is killed twice, the command once. Each image
must have one result, and the service one prediction for it. Then a small folder goes through the
command without damage, and through Replicate's Python client, for a ratio of rates.
"""

import argparse
import base64
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import replicate
from PIL import Image, ImageDraw

from benchmarks.common import stack
from sluice.client import Client
from sluice.local.config import ALL_PARTS
from sluice.local.stack import Stack

_CONCURRENCY = 16
_POLL_S = 0.05


def make_images(folder: Path, count: int) -> None:
    """Write small photos that differ: 64 x 48 pixels, about 1 kB each."""
    folder.mkdir()
    for number in range(count):
        image = Image.new("RGB", (64, 48), (number % 251, number // 251 % 251, 99))
        ImageDraw.Draw(image).text((2, 2), str(number), "white")
        data = io.BytesIO()
        image.save(data, "JPEG")
        (folder / f"{number:05}.jpg").write_bytes(data.getvalue())


def command(api: str, photos: Path, out: Path) -> "subprocess.Popen[str]":
    """Start the command."""
    arguments = ["submit", str(photos), "--out", str(out), "--concurrency", str(_CONCURRENCY)]
    return subprocess.Popen(
        [sys.executable, "-m", "sluice", *arguments, "--url", api],
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(out: Path) -> int:
    """The number of results so far."""
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def reach(process: "subprocess.Popen[str]", out: Path, count: int) -> None:
    """Wait until so many results are there."""
    while lines(out) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(_POLL_S)


def damaged_run(running: Stack, photos: Path, out: Path, total: int) -> None:
    """Kill the api after a quarter and three quarters, and the command after the half."""
    process = command(running.addresses.api, photos, out)
    reach(process, out, total // 4)
    os.kill(running.pids["api"], signal.SIGKILL)
    print(f"api killed after {lines(out)} results")
    reach(process, out, total // 2)
    process.kill()
    process.communicate()
    print(f"command killed after {lines(out)} results")
    process = command(running.addresses.api, photos, out)
    reach(process, out, 3 * total // 4)
    os.kill(running.pids["api"], signal.SIGKILL)
    print(f"api killed after {lines(out)} results")
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def check(api: str, out: Path, total: int) -> None:
    """Each image has one result, and the service has one prediction for each."""
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    inputs = Counter(result["input"] for result in results)
    ids = {result["prediction"]["id"] for result in results}
    with Client(api) as client:
        known = {prediction.id for prediction in client.predictions()}
    statuses = Counter(result["prediction"]["status"] for result in results)
    print(
        f"results {len(results)}, images {len(inputs)}, ids {len(ids)},"
        f" predictions of the service {len(known)}, {dict(statuses)}"
    )
    assert len(results) == len(inputs) == len(ids) == total
    assert known == ids, "the service has predictions that no result names"
    assert statuses == {"succeeded": total}


def rate(work: Callable[[], None], count: int) -> float:
    """Images a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def by_command(api: str, photos: Path, out: Path) -> None:
    process = command(api, photos, out)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def by_replicate(api: str, photos: Path) -> None:
    """The same images through Replicate's client, as many at a time."""
    peer = replicate.Client(api_token="any", base_url=api)  # noqa: S106  no key is needed

    def one(path: Path) -> None:
        image = "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
        prediction = peer.predictions.create(version="codes", input={"image": image}, wait=20)
        if prediction.status not in ("succeeded", "failed"):
            prediction.wait()
        assert prediction.status == "succeeded", prediction.error

    with ThreadPoolExecutor(_CONCURRENCY) as pool:
        list(pool.map(one, sorted(photos.iterdir())))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--compared", type=int, default=300, help="images for the ratio")
    options = parser.parse_args()
    parts = sorted(ALL_PARTS - {"ui", "webhooks"})
    with tempfile.TemporaryDirectory(prefix="sluice-submit-") as folder, stack(*parts) as running:
        api, base = running.addresses.api, Path(folder)
        make_images(base / "photos", options.images)
        start = time.perf_counter()
        damaged_run(running, base / "photos", base / "out", options.images)
        print(f"{options.images} images in {time.perf_counter() - start:.0f} s")
        check(api, base / "out", options.images)
        make_images(base / "few", options.compared)
        ours = rate(lambda: by_command(api, base / "few", base / "few-out"), options.compared)
        peers = rate(lambda: by_replicate(api, base / "few"), options.compared)
        print(f"sluice submit {ours:.1f}/s, Replicate's client {peers:.1f}/s: {ours / peers:.2f}")


if __name__ == "__main__":
    main()
