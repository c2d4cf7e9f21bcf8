"""Cheap changes to cached scenes: no two epochs show the same picture."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.codes import PAD_VALUE, SIZE
from tools.codes.dataset import Dataset
from tools.codes.scenes import MIN_SIDE, MIN_VISIBLE

Rng = np.random.Generator
Image = NDArray[np.uint8]
Rows = NDArray[np.float32]

MOSAIC = 0.5
"""The share of mosaics among the pictures, before batch `plain`."""


def place(image: Image, rows: Rows, scale: float, x: float, y: float, out: Image) -> Rows:
    """Draw `image`, scaled, with its corner at x, y, into `out` in place.

    Returns the labels in `out`. A box that is now too small, or cut to less than half, is ignored.
    """
    h, w = out.shape[:2]
    matrix = np.array([[scale, 0, x], [0, scale, y]], np.float32)
    mode = cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR
    if mode == cv2.INTER_AREA:
        side = max(1, round(image.shape[0] * scale))
        image, matrix[0, 0], matrix[1, 1] = (
            cv2.resize(image, (side, side), interpolation=mode),
            1,
            1,
        )
    cv2.warpAffine(image, matrix, (w, h), dst=out, borderMode=cv2.BORDER_TRANSPARENT)
    rows = rows.copy()
    rows[:, :4] = rows[:, :4] * scale + np.array([x, y, x, y], np.float32)
    before = np.prod(rows[:, 2:4] - rows[:, :2], 1)
    rows[:, :4] = np.clip(rows[:, :4], 0, (w, h, w, h))
    sides = rows[:, 2:4] - rows[:, :2]
    rows[:, 5] = np.maximum(
        rows[:, 5], (sides.min(1) < MIN_SIDE) | (sides.prod(1) < MIN_VISIBLE * before)
    )
    return rows[sides.min(1) > 1]


def tone(rng: Rng, image: Image) -> Image:
    """Change each channel's gain and offset; at times to grey, or to inverted channel order."""
    gain = rng.uniform(0.75, 1.25) * rng.uniform(0.88, 1.12, 3)
    image = cv2.LUT(
        image,
        np.clip(np.arange(256)[:, None] * gain + rng.uniform(-15, 15), 0, 255).astype(np.uint8)[
            None
        ],
    )
    if rng.random() < 0.08:
        return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
    return np.ascontiguousarray(image[..., ::-1]) if rng.random() < 0.1 else image


def sample(rng: Rng, data: Dataset, index: int, mosaic: float) -> tuple[Image, Rows]:
    """One training picture (S, S, 3) and its labels.

    The picture is a scene, moved and scaled, or, with the probability `mosaic`, four scenes at
    about half size.
    """
    out = np.full((SIZE, SIZE, 3), PAD_VALUE, np.uint8)
    if rng.random() < mosaic:
        rows = []
        cut = rng.uniform(0.35, 0.65, 2) * SIZE
        for corner in range(4):
            pick = index if corner == 0 else int(rng.integers(len(data)))
            right, low = corner % 2, corner // 2
            room = (SIZE - cut[0] if right else cut[0], SIZE - cut[1] if low else cut[1])
            scale = max(room) / SIZE * rng.uniform(0.9, 1.3)
            view = out[
                int(cut[1]) if low else 0 : SIZE if low else int(cut[1]),
                int(cut[0]) if right else 0 : SIZE if right else int(cut[0]),
            ]
            shift = [rng.uniform(min(0, r - SIZE * scale), max(0, r - SIZE * scale)) for r in room]
            part = place(data.images[pick], data.labels(pick), scale, *shift, view)
            offset = np.array([int(cut[0]) * right, int(cut[1]) * low] * 2, np.float32)
            part[:, :4] += offset
            rows.append(part)
        labels = np.concatenate(rows)
    elif rng.random() < 0.5:
        scale = rng.uniform(0.75, 1.3)
        x, y = (
            rng.uniform(min(0, SIZE * (1 - scale)), max(0, SIZE * (1 - scale))) for _ in range(2)
        )
        labels = place(data.images[index], data.labels(index), scale, x, y, out)
    else:
        out[:], labels = data.images[index], data.labels(index).copy()
    # A mirrored code is still a code: a detector need not read it.
    if rng.random() < 0.5:
        out = out[:, ::-1]
        labels[:, [0, 2]] = SIZE - labels[:, [2, 0]]
    if rng.random() < 0.3:
        out = out[::-1]
        labels[:, [1, 3]] = SIZE - labels[:, [3, 1]]
    if rng.random() < 0.3:
        out = out.transpose(1, 0, 2)
        labels = labels[:, [1, 0, 3, 2, 4, 5]]
    return tone(rng, np.ascontiguousarray(out)), labels


def pad(pairs: list[tuple[Image, Rows]]) -> tuple[Image, Rows]:
    """Stack pictures (n, S, S, 3) and labels (n, G, 6), padded with class -1."""
    labels = np.zeros((len(pairs), max(1, *(len(rows) for _, rows in pairs)), 6), np.float32)
    labels[..., 4] = -1
    for row, (_, rows) in zip(labels, pairs, strict=True):
        row[: len(rows)] = rows
    return np.stack([image for image, _ in pairs]), labels


def batches(
    data: Dataset,
    size: int,
    start: int,
    stop: int,
    plain: int,
    seed: int,
    part: int = 0,
    parts: int = 1,
) -> Iterator[tuple[Image, Rows]]:
    """Batches `start` to `stop` of a run, in the form that `pad` returns.

    Of each batch of `size` pictures, this is every `parts`-th. From batch `plain` on there are no
    mosaics: the last batches look like real scenes. A batch depends only on its number and the
    seed. A thread prepares the next batches.
    """
    cv2.setNumThreads(1)

    def pick(place: int) -> int:
        epoch, offset = divmod(place, len(data))
        if epoch not in orders:
            orders.clear()
            orders[epoch] = np.random.default_rng([seed, 98, epoch]).permutation(len(data))
        return int(orders[epoch][offset])

    def make(step: int) -> tuple[Image, Rows]:
        places = range(step * size + part, (step + 1) * size, parts)
        return pad(
            [
                sample(
                    np.random.default_rng([seed, 99, at]), data, pick(at), MOSAIC * (step < plain)
                )
                for at in places
            ]
        )

    orders: dict[int, NDArray[np.int64]] = {}
    with ThreadPoolExecutor(1) as pool:
        pending = []
        for step in range(start, stop + 2):
            if step < stop:
                pending.append(pool.submit(make, step))
            if step >= start + 2:
                yield pending.pop(0).result()
