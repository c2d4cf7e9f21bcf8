"""Classes of a whole image: one score a class."""

from collections.abc import Mapping

import numpy as np

from sluice.errors import UnsupportedModel
from sluice.models import Model
from sluice.vision.heads.common import Array, Classification, DecodeParameters, pick


def decode(
    model: Model, outputs: Mapping[str, Array], parameters: DecodeParameters
) -> Classification:
    """Return the likeliest classes, at most `max_detections` of those that `classes` allows.

    `confidence` is ignored. The output is (C,): probabilities or, from YOLOv5, logits.
    Logits go through a softmax.
    Raises UnsupportedModel if the output's length is not the number of the model's names.
    """
    output = pick(model, outputs, 1)
    if output.shape != (len(model.names),):
        raise UnsupportedModel(
            f"model {model.name!r} is configured as {model.task} with {len(model.names)} classes:"
            f" its output should be ({len(model.names)},), but it is {output.shape};"
            " correct its task or names"
        )
    scores = output.astype(np.float32)
    finite = np.isfinite(scores)
    if finite.all() and (scores.min() < 0 or abs(float(scores.sum()) - 1) > 0.01):
        scores = np.exp(scores - scores.max())
        scores /= scores.sum()
    if parameters.classes is not None:
        finite &= np.isin(np.arange(len(scores)), parameters.classes)
    class_ids = np.argsort(-scores, kind="stable")
    class_ids = class_ids[finite[class_ids]][: parameters.max_detections]
    return Classification(class_ids, scores[class_ids])
