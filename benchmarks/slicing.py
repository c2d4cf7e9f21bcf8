"""Large pictures with small codes: what tiles find that the whole image loses, and what they cost.

`--pictures FOLDER` also writes a JPEG of a part of each scene, with what both found.
"""

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.common import stack
from benchmarks.scenes import KINDS, render
from sluice.client import Client
from tools.codes import CLASSES
from tools.codes.scenes import Scene

BUCKETS = (10, 16, 24, 40, 80, 160, 400)
"""Sizes in pixels of the image: the square root of a box's area."""
WAYS: dict[str, Any] = {"whole": None, "832": 832, "true": True, "320": 320}
"""The values of `slice`, by the name in the table."""
MATCH_IOU = 0.5
ROUNDS = {"whole": 3}
"""The runs of which the median counts, 1 for the others: they are long."""
Boxes = npt.NDArray[np.float32]
FOUND, LOST, WHOLE = (60, 220, 60), (40, 40, 255), (255, 160, 0)
"""Colours in BGR: only tiles found it, nothing found it, the whole image found it too."""


@dataclass
class Result:
    """The outcome of one way in one scene."""

    hit: npt.NDArray[np.bool_]
    """(n,): the true code was found."""
    boxes: Boxes
    false: int
    """Detections that are no code."""
    duplicates: int
    """Second detections of a code that was found."""
    tiles: int
    seconds: float


def main(pictures: Path | None = None) -> None:
    rows: dict[str, list[tuple[Scene, Result]]] = {way: [] for way in WAYS}
    with (
        stack("redis", "triton", "worker", "api", concurrency=1) as running,
        Client(running.addresses.api, timeout_s=120) as client,
    ):
        for name in KINDS:
            scene = render(name)
            data = encode(scene.image, 92)
            results = {}
            for way, slicing in WAYS.items():
                results[way] = _measure(client, scene, data, slicing, ROUNDS.get(way, 1))
                rows[way].append((scene, results[way]))
            _print(name, {way: [(scene, result)] for way, result in results.items()})
            if pictures:
                _picture(pictures / f"slicing-{name}.jpg", scene, results["whole"], results["true"])
    _print("all scenes", rows)


def encode(image: npt.NDArray[np.uint8], quality: int) -> bytes:
    """An RGB image as JPEG."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def _measure(client: Client, scene: Scene, data: bytes, slicing: Any, rounds: int) -> Result:
    runs = [client.run(data, slice=slicing, max_detections=1000) for _ in range(rounds)]
    seconds = float(np.median([run.metrics["predict_time"] for run in runs]))
    output = runs[0].output
    assert output is not None
    order = sorted(output.detections, key=lambda entry: -entry.confidence)
    boxes = np.array([entry.xyxy for entry in order], np.float32).reshape(-1, 4)
    kinds = [CLASSES.index(entry.class_name) for entry in order]
    hit, false, duplicates = _match(scene, boxes, kinds)
    tiles = int(runs[0].metrics.get("tiles", 1))
    return Result(hit, boxes, false, duplicates, tiles, seconds)


def _match(scene: Scene, boxes: Boxes, kinds: list[int]) -> tuple[npt.NDArray[np.bool_], int, int]:
    """Return which true codes were found, the false detections, and the second ones.

    Codes that are marked as too hard count neither way.
    """
    hit = np.zeros(len(scene.boxes), bool)
    false = duplicates = 0
    if not len(boxes):
        return hit, 0, 0
    overlaps = iou(boxes, scene.boxes)
    for row, kind in zip(overlaps, kinds, strict=True):
        near = np.flatnonzero((row >= MATCH_IOU) & (scene.kinds == kind))
        free = near[~hit[near]]
        if len(free):
            hit[free[np.argmax(row[free])]] = True
        elif len(near):
            duplicates += 1
        elif not (scene.ignored & (row > 0.1)).any():
            false += 1
    return hit, false, duplicates


def iou(one: Boxes, other: Boxes) -> Boxes:
    """The IoU of each pair of boxes (n, m)."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    ratio: Boxes = shared / (areas[0][:, None] + areas[1][None] - shared)
    return ratio


def _print(name: str, ways: dict[str, list[tuple[Scene, Result]]]) -> None:
    """Print a table with a row for each way."""
    scenes = [scene for scene, _ in ways["whole"]]
    size = np.concatenate([_sides(scene) for scene in scenes])
    wanted = np.concatenate([~scene.ignored for scene in scenes])
    bucket = np.digitize(size, BUCKETS)
    counts = [int((wanted & (bucket == index)).sum()) for index in range(1, len(BUCKETS))]
    print(f"\n{name}: recall by size in px, with the number of codes")
    heads = [f"{low}-{high}" for low, high in pairwise(BUCKETS)]
    print(f"  {'slice':<8}" + "".join(f"{head:>9}" for head in [*heads, "all"]), end="")
    print(f"{'false':>8}{'twice':>7}{'precision':>11}{'runs':>6}{'time':>7}")
    print(f"  {'codes':<8}" + "".join(f"{count:>9}" for count in [*counts, wanted.sum()]))
    base = sum(result.seconds for _, result in ways["whole"])
    for way, results in ways.items():
        hit = np.concatenate([result.hit for _, result in results])
        found = [(hit & wanted & (bucket == index)).sum() for index in range(1, len(BUCKETS))]
        line = "".join(f"{f / max(c, 1):>9.2f}" for f, c in zip(found, counts, strict=True))
        line += f"{(hit & wanted).sum() / wanted.sum():>9.2f}"
        false = sum(result.false for _, result in results)
        duplicates = sum(result.duplicates for _, result in results)
        good = int((hit & wanted).sum())
        precision = good / max(1, good + false + duplicates)
        runs = results[0][1].tiles
        ratio = sum(result.seconds for _, result in results) / base
        print(f"  {way:<8}{line}{false:>8}{duplicates:>7}{precision:>11.3f}{runs:>6}{ratio:>7.1f}")


def _sides(scene: Scene) -> npt.NDArray[np.float32]:
    sides: npt.NDArray[np.float32] = np.sqrt((scene.boxes[:, 2:] - scene.boxes[:, :2]).prod(axis=1))
    return sides


def _picture(path: Path, scene: Scene, whole: Result, tiles: Result) -> None:
    """A part of the scene with many codes that only tiles found, smaller than it is."""
    height, width = 1200, 1600
    middles = (scene.boxes[:, :2] + scene.boxes[:, 2:]) / 2
    gained = middles[tiles.hit & ~whole.hit & ~scene.ignored]
    kept = middles[whole.hit & ~scene.ignored]

    def worth(corner: tuple[int, int]) -> int:
        end = (corner[0] + width, corner[1] + height)
        new, old = (int(((at > corner) & (at < end)).all(axis=1).sum()) for at in (gained, kept))
        return new + 10 * min(old, 1)

    left, top = max(
        (
            (left, top)
            for top in range(0, scene.image.shape[0] - height + 1, 100)
            for left in range(0, scene.image.shape[1] - width + 1, 100)
        ),
        key=worth,
    )
    part = np.ascontiguousarray(scene.image[top : top + height, left : left + width, ::-1])
    for index, (x0, y0, x1, y1) in enumerate(scene.boxes - np.tile((left, top), 2)):
        if scene.ignored[index]:
            continue
        colour = WHOLE if whole.hit[index] else FOUND if tiles.hit[index] else LOST
        low, high = (int(x0) - 5, int(y0) - 5), (int(x1) + 5, int(y1) + 5)
        cv2.rectangle(part, low, high, (0, 0, 0), 6)
        cv2.rectangle(part, low, high, colour, 3)
    small = cv2.resize(part, (width * 5 // 8, height * 5 // 8), interpolation=cv2.INTER_AREA)
    path.write_bytes(encode(small[..., ::-1], 72))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    main(parser.parse_args().pictures)
