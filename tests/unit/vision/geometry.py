"""Random boxes and pictures, and slow, obvious versions of the geometry."""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st

steady = settings(derandomize=True, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def floats(values: Any) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


def slow_iou(a: Any, b: Any) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0 else 0.0


def crowd(seed: int, count: int) -> npt.NDArray[np.float32]:
    """Boxes with integer corners, so that overlaps are exact. Some have no area."""
    random = np.random.default_rng(seed)
    corner = random.integers(-10, 40, (count, 2))
    return np.concatenate((corner, corner + random.integers(0, 30, (count, 2))), axis=1).astype(
        np.float32
    )
