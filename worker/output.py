"""From a head's result to the output that the client reads.

The schema is the one of Roboflow's inference server, which `supervision.Detections.from_inference`
reads: https://inference.roboflow.com/quickstart/inference_101/

A box is its centre x and y, its width and its height. All lengths are source pixels.
"""

from collections.abc import Sequence
from typing import Any

from sluice.vision.heads import Classification, Detections


def describe(
    prediction_id: str,
    result: Detections | Classification,
    names: Sequence[str],
    source_hw: tuple[int, int],
) -> dict[str, Any]:
    """Return the prediction's `output`. `source_hw` is the image's (height, width) in pixels.

    A detection's id is the prediction's id and its rank, so that a second run gives the same ids.
    """
    height, width = source_hw
    output: dict[str, Any] = {"image": {"width": width, "height": height}}
    if isinstance(result, Classification):
        output["predictions"] = [
            {"class": names[class_id], "class_id": class_id, "confidence": round(score, 5)}
            for class_id, score in zip(
                result.class_ids.tolist(), result.scores.tolist(), strict=True
            )
        ]
        output["top"] = output["predictions"][0]["class"] if output["predictions"] else None
        output["confidence"] = (
            output["predictions"][0]["confidence"] if output["predictions"] else 0.0
        )
        return output
    boxes = result.boxes.tolist()
    scores, class_ids = result.scores.tolist(), result.class_ids.tolist()
    output["predictions"] = [
        {
            "x": round((x1 + x2) / 2, 2),
            "y": round((y1 + y2) / 2, 2),
            "width": round(x2 - x1, 2),
            "height": round(y2 - y1, 2),
            "confidence": round(score, 5),
            "class": names[class_id],
            "class_id": class_id,
            "detection_id": f"{prediction_id}-{rank}",
        }
        for rank, ((x1, y1, x2, y2), score, class_id) in enumerate(
            zip(boxes, scores, class_ids, strict=True)
        )
    ]
    _add_task_fields(output["predictions"], result)
    return output


def _add_task_fields(entries: list[dict[str, Any]], result: Detections) -> None:
    outlines = result.corners.tolist() if result.corners is not None else None
    if result.polygons is not None:
        outlines = [polygon.tolist() for polygon in result.polygons]
    for rank, entry in enumerate(entries):
        if outlines is not None:
            entry["points"] = [{"x": round(x, 2), "y": round(y, 2)} for x, y in outlines[rank]]
        if result.keypoints is not None:
            entry["keypoints"] = [
                {
                    "x": round(x, 2),
                    "y": round(y, 2),
                    # Readers of the schema need a number, also where the model has none.
                    "confidence": round(score[0], 5) if score else 1.0,
                    "class_id": index,
                }
                for index, (x, y, *score) in enumerate(result.keypoints[rank].tolist())
            ]
