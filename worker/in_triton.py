"""The path of one image of an ensemble: its file goes to Triton, and detections come back."""

from typing import Protocol

from sluice.errors import NotAnImage, UnknownModel
from sluice.models import Model, Recipe
from sluice.prediction import Prediction
from sluice.vision.ensemble import Answer, Request
from sluice.vision.triton.ensemble import predict
from sluice.vision.triton.errors import ModelReplaced
from sluice.vision.triton.slots import Server


class _Models(Protocol):
    def model(self, name: str) -> Model:
        """Return the loaded model. Raises UnknownModel, UnsupportedModel or Unavailable."""


def with_canvas(models: _Models, name: str) -> Model:
    """Return the model `name`, or its network where it is an ensemble: what takes canvases.

    Raises ModelReplaced where the network's version is gone, and what `models` raises.
    """
    model = models.model(name)
    if model.recipe is not Recipe.ENSEMBLE:
        return model
    try:
        return models.model(model.network)
    except UnknownModel as error:
        raise ModelReplaced(f"model {name!r} was replaced") from error


def run(
    server: Server, model: Model, prediction: Prediction, image: bytes, max_pixels: int
) -> Answer:
    """Return the answer of an ensemble, with a drawing if the prediction asks for one.

    Raises InvalidInput or a subclass, InferenceFailed, ModelReplaced or Unavailable.
    """
    if not image:  # Triton takes no empty tensor
        raise NotAnImage("the image is empty (0 bytes)")
    parameters = prediction.parameters
    request = Request(
        id=prediction.id,
        confidence=parameters.confidence,
        iou=parameters.iou,
        max_detections=parameters.max_detections,
        classes=model.class_ids(parameters.classes),
        class_agnostic=parameters.class_agnostic,
        max_pixels=max_pixels,
        draw=parameters.output_format if parameters.visualize else None,
    )
    return predict(server, model, image, request)
