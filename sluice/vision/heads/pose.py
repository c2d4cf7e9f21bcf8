"""Boxes with keypoints: each row adds x and y for each keypoint, and perhaps a confidence."""

from collections.abc import Mapping

import numpy as np

from sluice.models import Model
from sluice.vision.heads.common import Array, DecodeParameters, Detections
from sluice.vision.heads.detect import select
from sluice.vision.heads.layouts import read_table
from sluice.vision.letterbox import Letterbox


def decode(
    model: Model, outputs: Mapping[str, Array], parameters: DecodeParameters, letterbox: Letterbox
) -> Detections:
    """Return detections with `keypoints`. Arguments and errors are those of heads.decode."""
    model, table = read_table(model, outputs)
    rows = select(model, table, parameters, extras=None)
    shape = model.keypoints(rows.extras.shape[1])
    keypoints = rows.extras.reshape(-1, *shape)
    keypoints = np.concatenate(
        (letterbox.to_source(keypoints[..., :2]), keypoints[..., 2:]), axis=-1
    )
    return Detections(
        letterbox.to_source(rows.boxes), rows.scores, rows.class_ids, keypoints=keypoints
    )
