"""Decoding compared with a reference implementation, on seven models and twelve images.

The models, images and answers lie outside the repository, in ../shared/golden. SLUICE_GOLDEN names
another place.
"""

import ast
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from sluice.models import Layout, Model, Task, Tensor
from sluice.vision import heads
from sluice.vision.heads import Classification, DecodeParameters, Detections, segment
from sluice.vision.heads.detect import select
from tests.support.paths import GOLDEN, NO_GOLDEN

if NO_GOLDEN:
    pytest.skip(NO_GOLDEN, allow_module_level=True)

RESULTS: dict[str, Any] = json.loads((GOLDEN / "golden.json").read_text())
CASES = [(name, case) for name in RESULTS for case in RESULTS[name]["cases"]]
DETECTION_CASES = [(name, case) for name, case in CASES if RESULTS[name]["task"] != "classify"]

BOX_IOU, SHAPE_IOU, CONFIDENCE, KEYPOINT_PX, AT_THRESHOLD = 0.99, 0.95, 0.005, 0.5, 0.003


@cache
def session_of(name: str) -> Any:
    return onnxruntime.InferenceSession(
        str(GOLDEN / "models" / f"{name}.onnx"), providers=["CPUExecutionProvider"]
    )


@cache
def model_of(name: str) -> Model:
    session = session_of(name)
    metadata = session.get_modelmeta().custom_metadata_map
    unsuppressed = Layout.ANCHORS if name.startswith("v5") else Layout.ANCHOR_FREE
    layout = Layout.END_TO_END if metadata["end2end"] == "True" else unsuppressed
    side = RESULTS[name]["imgsz"]
    return Model(
        name=name,
        task=Task(metadata["task"]),
        layout=layout,
        names=tuple(ast.literal_eval(metadata["names"]).values()),
        imgsz=(side, side),
        input=Tensor("images", "FP32", (3, side, side)),
        outputs=tuple(Tensor(output.name, "FP32", ()) for output in session.get_outputs()),
        batched=True,
        kpt_shape=tuple(json.loads(metadata["kpt_shape"])) if "kpt_shape" in metadata else None,
    )


@cache
def run(name: str, image: str) -> tuple[Mapping[str, npt.NDArray[Any]], Any]:
    """The model's outputs on an image, without their batch axis, and the image's letterbox."""
    model, session = model_of(name), session_of(name)
    pixels: Any = cv2.imread(str(GOLDEN / "images" / image), cv2.IMREAD_COLOR_RGB)
    view = heads.fit(model, pixels.shape[:2])
    tensor = view.apply(pixels).transpose(2, 0, 1)[None].astype(np.float32) / 255
    outputs = session.run(None, {"images": np.ascontiguousarray(tensor)})
    return {
        tensor.name: output[0] for tensor, output in zip(model.outputs, outputs, strict=True)
    }, view


def parameters_of(settings: Mapping[str, Any]) -> DecodeParameters:
    classes = settings.get("classes")
    return DecodeParameters(
        confidence=settings["conf"],
        iou=settings["iou"],
        max_detections=settings.get("max_det", 300),
        classes=None if classes is None else tuple(classes),
        class_agnostic=settings.get("agnostic_nms", False),
    )


def polygon_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The overlap of any two polygons (n, 2), by counting pixels."""
    corner = np.floor(np.minimum(a.min(axis=0), b.min(axis=0)))
    size = (np.ceil(np.maximum(a.max(axis=0), b.max(axis=0))) - corner + 1).astype(int)
    drawn = [np.zeros((size[1], size[0]), np.uint8) for _ in range(2)]
    for canvas, polygon in zip(drawn, (a, b), strict=True):
        cv2.fillPoly(canvas, [np.rint(polygon - corner).astype(np.int32)], 1)
    return float((drawn[0] & drawn[1]).sum() / (drawn[0] | drawn[1]).sum())


def corners_of(box: npt.NDArray[Any]) -> npt.NDArray[Any]:
    x1, y1, x2, y2 = box
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])


def convex_iou(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """The exact overlap of two quadrangles (4, 2)."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    shared = cv2.intersectConvexConvex(a, b)[0]
    return float(shared / (cv2.contourArea(a) + cv2.contourArea(b) - shared))


def pair(
    decoded: Detections, wanted: list[Any]
) -> tuple[list[tuple[int, int, float]], list[int], list[int]]:
    """Pairs (decoded, wanted, iou), the best overlap first; then the unpaired ones of each side."""
    mine = (
        decoded.corners
        if decoded.corners is not None
        else [corners_of(box) for box in decoded.boxes]
    )
    theirs = [
        np.array(each["corners"]) if "corners" in each else corners_of(each["xyxy"])
        for each in wanted
    ]
    overlaps = [
        (convex_iou(mine[i], theirs[j]), i, j)
        for i in range(len(decoded))
        for j in range(len(wanted))
        if decoded.class_ids[i] == wanted[j]["class_id"]
    ]
    pairs: list[tuple[int, int, float]] = []
    left, right = set(range(len(decoded))), set(range(len(wanted)))
    for iou, i, j in sorted(overlaps, reverse=True):
        if i in left and j in right and iou > 0.5:
            pairs.append((i, j, iou))
            left.remove(i)
            right.remove(j)
    return pairs, sorted(left), sorted(right)


def disagreements(decoded: Detections, wanted: list[Any], threshold: float) -> Iterator[str]:
    """A line for each difference."""
    pairs, extra, missing = pair(decoded, wanted)
    for i in extra:
        if decoded.scores[i] > threshold + AT_THRESHOLD:
            detection = f"class {decoded.class_ids[i]} {decoded.scores[i]:.5f}"
            yield f"too many: {detection} at {decoded.boxes[i]}"
    for j in missing:
        if wanted[j]["confidence"] > threshold + AT_THRESHOLD:
            yield f"missing: {wanted[j]['class']} {wanted[j]['confidence']:.5f}"
    for i, j, iou in pairs:
        want = wanted[j]
        what = f"{want['class']} {want['confidence']:.5f} at {decoded.boxes[i]}"
        if iou < (SHAPE_IOU if "corners" in want else BOX_IOU):
            yield f"{what}: IoU {iou:.4f}"
        if abs(decoded.scores[i] - want["confidence"]) > CONFIDENCE:
            yield f"{what}: confidence {decoded.scores[i]:.5f}"
        if "keypoints" in want:
            assert decoded.keypoints is not None
            off = np.abs(decoded.keypoints[i] - np.array(want["keypoints"])).max(axis=0)
            if max(off[:2]) > KEYPOINT_PX or off[2] > CONFIDENCE:
                yield (
                    f"{what}: keypoints off by {off[0]:.3f}, {off[1]:.3f} px"
                    f" and {off[2]:.5f} in confidence"
                )
        if "points" in want:
            assert decoded.polygons is not None
            mask_iou = polygon_iou(decoded.polygons[i], np.array(want["points"]))
            if mask_iou < SHAPE_IOU:
                yield f"{what}: mask IoU {mask_iou:.4f}"


@pytest.mark.parametrize(("name", "case"), DETECTION_CASES)
def test_detections_agree_with_the_reference(name: str, case: str) -> None:
    settings = RESULTS[name]["cases"][case]["settings"]
    problems = []
    for image, wanted in RESULTS[name]["cases"][case]["images"].items():
        outputs, view = run(name, image)
        assert view.source_hw == (wanted["height"], wanted["width"])
        decoded = heads.decode(model_of(name), outputs, parameters_of(settings), view)
        assert isinstance(decoded, Detections)
        problems += [
            f"{image}: {line}"
            for line in disagreements(decoded, wanted["detections"], settings["conf"])
        ]
    assert not problems, "\n".join([f"{name}, {case}, {settings}:", *problems])


@pytest.mark.parametrize(("name", "case"), [pair for pair in CASES if pair not in DETECTION_CASES])
def test_classes_agree_with_the_reference(name: str, case: str) -> None:
    model = model_of(name)
    for image, wanted in RESULTS[name]["cases"][case]["images"].items():
        outputs, view = run(name, image)
        decoded = heads.decode(model, outputs, DecodeParameters(max_detections=5), view)
        assert isinstance(decoded, Classification)
        assert [model.names[i] for i in decoded.class_ids] == [
            each["class"] for each in wanted["top5"]
        ], image
        assert decoded.scores == pytest.approx(
            [each["confidence"] for each in wanted["top5"]], abs=CONFIDENCE
        ), image


def test_masks_are_as_large_as_the_references() -> None:
    """Masks before they become outlines agree to the pixel; rounding may tip a single one."""
    name = "11-segment"
    for case in RESULTS[name]["cases"].values():
        for image, wanted in case["images"].items():
            outputs, view = run(name, image)
            parameters = parameters_of(case["settings"])
            rows = select(model_of(name), outputs["output0"], parameters, extras=32)
            decoded = heads.decode(model_of(name), outputs, parameters, view)
            assert isinstance(decoded, Detections)
            for i, j, _ in pair(decoded, wanted["detections"])[0]:
                mask, _, _ = segment.draw_mask(
                    outputs["output1"], rows.extras[i], rows.boxes[i], view.network_hw
                )
                assert mask.sum() == pytest.approx(
                    wanted["detections"][j]["mask_area_px"], abs=1
                ), image


def test_end_to_end_rows_agree_with_the_reference() -> None:
    """No reference model has this layout: OpenCV suppresses an anchor-free model's rows here."""
    name, case = "11-detect", "default"
    settings = RESULTS[name]["cases"][case]["settings"]
    model = Model(**{**vars(model_of(name)), "layout": Layout.END_TO_END})
    for image, wanted in RESULTS[name]["cases"][case]["images"].items():
        outputs, view = run(name, image)
        table = outputs["output0"].T
        scores, class_ids = table[:, 4:].max(axis=1), table[:, 4:].argmax(axis=1)
        corners = table[:, :2] - table[:, 2:4] / 2
        # OpenCV shifts boxes by the largest coordinate, to separate classes: none may be negative.
        boxes: Any = np.concatenate((corners + 400, table[:, 2:4]), axis=1)
        kept = cv2.dnn.NMSBoxesBatched(boxes, scores, class_ids, 0.01, settings["iou"])
        rows = np.zeros((300, 6), np.float32)
        kept = kept[:300]
        rows[: len(kept)] = np.column_stack(
            (corners[kept], corners[kept] + table[kept, 2:4], scores[kept], class_ids[kept])
        )
        decoded = heads.decode(model, {"output0": rows}, parameters_of(settings), view)
        assert isinstance(decoded, Detections)
        problems = list(disagreements(decoded, wanted["detections"], settings["conf"]))
        assert not problems, "\n".join([f"{image}:", *problems])
