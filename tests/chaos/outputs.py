"""Comparison of two results. A detection's id contains the prediction's, so it is left out."""

from collections.abc import Mapping
from typing import Any


def difference(expected: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> str | None:
    """A description of the difference, or None for results that agree to the last digit."""
    if expected is None or found is None:
        return None if expected is found else "there is a result only with or only without faults"
    if expected.get("image") != found.get("image"):
        return f"the image is {found.get('image')}, and was {expected.get('image')}"
    one, other = (
        [_bare(entry) for entry in expected["predictions"]],
        [_bare(entry) for entry in found["predictions"]],
    )
    if len(one) != len(other):
        return f"{len(other)} detections, and {len(one)} without faults"
    for rank, (before, after) in enumerate(zip(one, other, strict=True)):
        if before != after:
            return f"detection {rank} is {after}, and was {before}"
    return None


def _bare(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != "detection_id"}
