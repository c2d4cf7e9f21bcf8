"""The reference models, added by the command, folded and as they came: from HTTP to the result.

Rules and reference results are those of `test_golden_heads.py`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sluice.cli.app import app
from sluice.vision.heads import Detections
from tests.integration.conftest import QUICK
from tests.integration.test_golden_heads import CONFIDENCE, RESULTS, disagreements
from tests.support.client import Client
from tests.support.live import Live, live_stack
from tests.support.paths import GOLDEN

pytestmark = pytest.mark.integration

FORMS = {
    "folded": [],
    "unfolded": ["--no-fold"],
    "ensemble": ["--ensemble", "--processes", "1"],
}
"""The options of `sluice models add`, by the first part of the models' names."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    models = tmp_path_factory.mktemp("models")
    for form, options in FORMS.items():
        for name in RESULTS:
            _add(models, GOLDEN / "models" / f"{name}.onnx", f"{form}-{name}", *options)
    state = tmp_path_factory.mktemp("state")
    with live_stack(state, "--models", str(models), workers=1, env=QUICK) as live:
        yield live


def _add(models: Path, file: Path, *name_and_options: str) -> None:
    """The command, in this process: an interpreter for each model would take a minute in all."""
    command = ["models", "add", str(file), "--name", *name_and_options]
    done = CliRunner().invoke(app, [*command, "--repository", str(models)])
    assert done.exit_code == 0, done.output


def _parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The reference's settings, by the names of the interface."""
    return {
        "confidence": settings.get("conf"),
        "iou": settings.get("iou"),
        "max_detections": settings.get("max_det"),
        "classes": settings.get("classes"),
        "class_agnostic": settings.get("agnostic_nms"),
    }


def _detections(output: Mapping[str, Any], task: str) -> Detections:
    """The output of a prediction, in the arrays that the rules of comparison take."""
    entries = output["predictions"]
    centres = np.array([[e["x"], e["y"]] for e in entries], np.float32).reshape(-1, 2)
    halves = np.array([[e["width"], e["height"]] for e in entries], np.float32).reshape(-1, 2) / 2
    points = [
        np.array([[point["x"], point["y"]] for point in entry.get("points", [])], np.float32)
        for entry in entries
    ]
    keypoints = [
        [[point["x"], point["y"], point["confidence"]] for point in entry.get("keypoints", [])]
        for entry in entries
    ]
    return Detections(
        np.concatenate((centres - halves, centres + halves), axis=1),
        np.array([entry["confidence"] for entry in entries], np.float32),
        np.array([entry["class_id"] for entry in entries], np.int64),
        keypoints=np.array(keypoints, np.float32) if task == "pose" else None,
        corners=np.array(points).reshape(-1, 4, 2) if task == "obb" else None,
        polygons=points if task == "segment" else None,
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", RESULTS)
def test_results_agree_with_the_reference(live: Live, name: str, form: str) -> None:
    task, problems = RESULTS[name]["task"], []
    with Client(live.api, timeout_s=60) as client:
        ids = {
            (case, image): client.submit(
                GOLDEN / "images" / image,
                model=f"{form}-{name}",
                **_parameters(RESULTS[name]["cases"][case]["settings"]),
            )["id"]
            for case in RESULTS[name]["cases"]
            for image in RESULTS[name]["cases"][case]["images"]
        }
        for (case, image), prediction_id in ids.items():
            prediction = client.wait(prediction_id)
            assert prediction["status"] == "succeeded", prediction["error"]
            output, wanted = prediction["output"], RESULTS[name]["cases"][case]["images"][image]
            if task == "classify":
                top5 = output["predictions"][:5]
                assert [e["class"] for e in top5] == [e["class"] for e in wanted["top5"]], image
                assert [e["confidence"] for e in top5] == pytest.approx(
                    [e["confidence"] for e in wanted["top5"]], abs=CONFIDENCE
                ), image
                continue
            settings = RESULTS[name]["cases"][case]["settings"]
            decoded = _detections(output, task)
            for line in disagreements(decoded, wanted["detections"], settings["conf"]):
                problems.append(f"{case}, {image}: {line}")
    assert ids
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("name", RESULTS)
def test_both_recipes_give_the_same_numbers(live: Live, name: str) -> None:
    """To the last digit, also for candidates of a low confidence, and for every image."""
    images = sorted((GOLDEN / "images").iterdir())
    parameters = {"confidence": 0.01, "max_detections": 1000}
    with Client(live.api, timeout_s=60) as client:
        ids = {
            (form, image.name): client.submit(image, model=f"{form}-{name}", **parameters)["id"]
            for form in ("folded", "ensemble")
            for image in images
        }
        outputs = {key: client.wait(each)["output"] for key, each in ids.items()}
    for output in outputs.values():
        for entry in output["predictions"]:
            entry.pop("detection_id", None)
    assert images
    for image in images:
        assert outputs["ensemble", image.name] == outputs["folded", image.name], image.name
