"""Outputs in the formats that other tools read.

COCO: https://cocodataset.org/#format-data
YOLO: https://docs.ultralytics.com/datasets/detect/, and the pages for segment, pose and obb
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sluice.client.results import Detection, Output

_JsonObject = dict[str, Any]


def yolo(output: "Output", *, confidence: bool = True) -> str:
    """Return a line for each detection, of numbers from 0 to 1: fractions of the image's sides.

    A line holds the class id, and the box as centre and size. An outline or a turned box has its
    points instead of the box. Keypoints follow the box as x, y and visibility 2.
    The confidence comes last. Scores of a classifier are no part of the format: the text is empty.
    """
    return "".join(
        " ".join([str(detection.class_id), *map(_number, _yolo_values(detection, output))])
        + (f" {_number(detection.confidence)}" if confidence else "")
        + "\n"
        for detection in output.detections
    )


def coco_annotations(output: "Output", image_id: int, first_id: int) -> list[_JsonObject]:
    """Return an annotation for each detection. The category's id is the class id."""
    return [
        _coco_annotation(detection, image_id, first_id + index)
        for index, detection in enumerate(output.detections)
    ]


def coco(outputs: Mapping[str, "Output"], classes: Mapping[int, str] | None = None) -> _JsonObject:
    """Return a COCO document of many images, by file name.

    `classes` are the names by class id; by default, those of the detections.
    """
    found = {
        detection.class_id: detection.class_name
        for output in outputs.values()
        for detection in output.detections
    }
    images: list[_JsonObject] = []
    annotations: list[_JsonObject] = []
    for image_id, (file_name, output) in enumerate(outputs.items(), 1):
        images.append(
            {
                "id": image_id,
                "file_name": file_name,
                "width": output.width,
                "height": output.height,
            }
        )
        annotations += coco_annotations(output, image_id, len(annotations) + 1)
    names = found if classes is None else classes
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": class_id, "name": names[class_id]} for class_id in sorted(names)],
    }


def _coco_annotation(detection: "Detection", image_id: int, annotation_id: int) -> _JsonObject:
    left, top, _, _ = detection.xyxy
    annotation: _JsonObject = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": detection.class_id,
        "bbox": [round(left, 2), round(top, 2), detection.width, detection.height],
        "area": _area(detection),
        "iscrowd": 0,
        "score": detection.confidence,
    }
    if detection.points:
        annotation["segmentation"] = [[value for point in detection.points for value in point]]
    if detection.keypoints:
        annotation["keypoints"] = [
            value for point in detection.keypoints for value in (point.x, point.y, 2)
        ]
        annotation["num_keypoints"] = len(detection.keypoints)
    return annotation


def _area(detection: "Detection") -> float:
    """The area of the outline by the shoelace formula, or of the box."""
    points = detection.points
    if not points:
        return round(detection.width * detection.height, 2)
    following = (*points[1:], points[0])
    twice = sum(x * v - u * y for (x, y), (u, v) in zip(points, following, strict=True))
    return round(abs(twice) / 2, 2)


def _yolo_values(detection: "Detection", output: "Output") -> list[float]:
    width, height = output.width, output.height
    if detection.points:
        return [value for x, y in detection.points for value in (x / width, y / height)]
    return [
        detection.x / width,
        detection.y / height,
        detection.width / width,
        detection.height / height,
        *(
            value
            for point in detection.keypoints
            for value in (point.x / width, point.y / height, 2)
        ),
    ]


def _number(value: float) -> str:
    return f"{value:.6g}"
