"""A folder whose images are the frames of one clip."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.cli.submission.item import Item, Sampling, frame_item


@dataclass(frozen=True)
class FrameFolder:
    """The frames in one folder, in the order of the numbers in their names."""

    name: str
    files: Sequence[Path]
    rate: float | None
    """Frames a second; None where it is not known."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def count(self, sampling: Sampling) -> int:
        if sampling.fps is None or self.rate is None:
            return math.ceil(len(self.files) / sampling.every)
        return min(len(self.files), math.ceil(len(self.files) / self.rate * sampling.fps))

    def items(self, sampling: Sampling, done: Set[str]) -> Iterator[Item]:
        picks = sampling.picker()
        for number, path in enumerate(self.files):
            time_s = None if self.rate is None else round(number / self.rate, 4)
            if picks(number, time_s or 0.0) and str(path) not in done:
                yield frame_item(self.name, str(path), path, number, time_s, self.options)

    def timing(self) -> tuple[float, float | None] | None:
        return (self.rate, len(self.files) / self.rate) if self.rate else None


def in_order(files: Sequence[Path]) -> list[Path]:
    """Sort by names, with numbers as numbers: `2.jpg` comes before `10.jpg`."""

    def key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", path.name)
        return [(int(part) if part.isdecimal() else 0, part) for part in parts]

    return sorted(files, key=key)
