"""Boxes with keypoints: each row adds x, y and a confidence for each keypoint."""

from collections.abc import Mapping

import numpy as np

from sluice.errors import UnsupportedModel
from sluice.models import Model
from sluice.vision.heads.common import Array, DecodeParameters, Detections, pick
from sluice.vision.heads.detect import select
from sluice.vision.letterbox import Letterbox


def decode(
    model: Model, outputs: Mapping[str, Array], parameters: DecodeParameters, letterbox: Letterbox
) -> Detections:
    """Return detections with `keypoints`. Arguments and errors are those of heads.decode."""
    rows = select(model, pick(model, outputs, 2), parameters, extras=None)
    values = rows.extras.shape[1]
    if values == 0 or values % 3:
        raise UnsupportedModel(
            f"model {model.name!r} is configured as {model.task}, {model.layout}, with"
            f" {len(model.names)} classes: that leaves {values} values in a row for keypoints,"
            " which is not x, y and confidence for each; correct its task, layout or names"
        )
    keypoints = rows.extras.reshape(-1, values // 3, 3)
    keypoints = np.concatenate(
        (letterbox.to_source(keypoints[..., :2]), keypoints[..., 2:]), axis=-1
    )
    return Detections(
        letterbox.to_source(rows.boxes), rows.scores, rows.class_ids, keypoints=keypoints
    )
