"""Scenes rendered ahead of training, on disk: `images.npy` (n, S, S, 3) uint8 and `labels.npz`."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.codes import SIZE
from tools.codes.scenes import letterbox, network_labels, render

SPLITS = ("train", "check", "test")
"""The splits. Check and test have backgrounds, clutter and payloads that training never shows.

Check was used while the recipe was made, test only at the end.
"""
CHUNK = 50


class Dataset:
    """A split on disk."""

    def __init__(self, folder: Path) -> None:
        self.images: NDArray[np.uint8] = np.load(folder / "images.npy", mmap_mode="r")
        table = np.load(folder / "labels.npz")
        self.rows, self.ends = table["rows"], table["ends"]

    def __len__(self) -> int:
        return len(self.images)

    def labels(self, index: int) -> NDArray[np.float32]:
        """Labels of one image (m, 6): box in network pixels, class, 1 if ignored."""
        return self.rows[self.ends[index - 1] if index else 0 : self.ends[index]]


def chunk(path: Path, seed: int, split: str, start: int, stop: int) -> list[NDArray[np.float32]]:
    """Render scenes start..stop into the open array at `path`; returns their labels."""
    cv2.setNumThreads(1)
    images, out = np.load(path, mmap_mode="r+"), []
    for index in range(start, stop):
        # One random stream for each scene: the number of processes changes nothing.
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        scene = render(rng, held_out=split != "train")
        images[index], scale, pad = letterbox(scene.image)
        out.append(network_labels(scene, scale, pad))
    return out


def build(folder: Path, split: str, count: int, seed: int, jobs: int = 2) -> Dataset:
    """Render `count` scenes of a split into `folder`, unless the scenes are there already."""
    if not (folder / "labels.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "images.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIZE, SIZE, 3)).flush()
        starts = range(0, count, CHUNK)
        with ProcessPoolExecutor(jobs) as pool:
            parts = pool.map(
                chunk,
                *zip(*((path, seed, split, a, min(count, a + CHUNK)) for a in starts), strict=True),
            )
            labels = []
            for part in parts:
                labels += part
                if len(labels) % 1000 == 0:
                    print(f"{split}: {len(labels)} of {count} scenes", flush=True)
        np.savez(
            folder / "labels.npz",
            rows=np.concatenate(labels),
            ends=np.cumsum([len(x) for x in labels]),
        )
    return Dataset(folder)
