"""The clients' submissions: drawn pictures with parameters, and pictures with damaged pixels."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from tests.support.png import with_pixels, zeroed

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """One image with its parameters, and the end that its predictions must have."""

    name: str
    image: bytes
    content_type: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    ends: str = "succeeded"
    """The terminal status of every prediction of this case."""
    code: str | None = None
    """The error's code, where the status is not `succeeded`."""

    @property
    def visualize(self) -> bool:
        return self.parameters.get("visualize") == "true"


def cases() -> list[Case]:
    """All cases, the same on every call and every machine."""
    rng = np.random.default_rng(20)
    pictures = [_picture(rng, number) for number in range(5)]
    jpegs = [_encoded(".jpg", picture) for picture in pictures]
    # A low confidence gives detections to compare even from a weak model.
    low = {"confidence": "0.05", "max_detections": "12"}
    good = [Case(f"plain-{number}", jpeg, "image/jpeg", low) for number, jpeg in enumerate(jpegs)]
    good += [
        Case("drawn-0", jpegs[0], "image/jpeg", {**low, "visualize": "true"}),
        Case(
            "drawn-1", jpegs[1], "image/jpeg", {**low, "visualize": "true", "max_detections": "3"}
        ),
        Case("strict-2", jpegs[2], "image/jpeg", {"confidence": "0.4"}),
        Case("merged-3", jpegs[3], "image/jpeg", {**low, "iou": "0.1", "class_agnostic": "true"}),
        Case("one-class-4", jpegs[4], "image/jpeg", {**low, "classes": "0"}),
        Case("png-0", _encoded(".png", pictures[0][:200, :240]), "image/png", low),
    ]
    # The api reads a file's structure and no pixel: these fail in a worker only.
    middle = _encoded(".png", pictures[1][:160, :160])
    bad = [
        Case(
            "damaged-png",
            with_pixels(middle, zeroed),
            "image/png",
            low,
            "failed",
            "not_an_image",
        ),
        Case(
            "cut-png",
            with_pixels(middle, lambda pixels: pixels[: len(pixels) // 2]),
            "image/png",
            low,
            "failed",
            "truncated_image",
        ),
    ]
    return good + bad


def _picture(rng: np.random.Generator, number: int) -> Picture:
    """A few codes on a smooth background, (height, width, 3) uint8."""
    height, width = 320 + 40 * number, 480 - 30 * number
    coarse = rng.integers(60, 200, (6, 8, 3), np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    encoder = cv2.QRCodeEncoder.create()
    for text in range(2 + number % 3):
        code = cv2.copyMakeBorder(
            encoder.encode(f"CHAOS-{number}-{text}"), 3, 3, 3, 3, cv2.BORDER_CONSTANT, value=255
        )
        side = int(rng.integers(70, 130))
        code = cv2.resize(code, (side, side), interpolation=cv2.INTER_NEAREST)
        x, y = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
        picture[y : y + side, x : x + side] = code[:, :, None]
    return np.asarray(picture, np.uint8)


def _encoded(suffix: str, picture: Picture) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])
