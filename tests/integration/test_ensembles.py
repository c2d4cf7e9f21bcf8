"""`sluice models add --ensemble` on a live stack: the same answers, and the life of a version."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import onnx
import pytest

from sluice.client.client import Client, ServiceError
from sluice.vision.triton.client import Triton
from sluice.vision.triton.errors import ModelReplaced
from tests.integration.conftest import QUICK
from tests.integration.test_models_command import ANSWERS, Load, _detector, _done, _models
from tests.support import tiny
from tests.support.live import Live, live_stack
from tests.support.paths import ROOT
from worker import in_triton

pytestmark = pytest.mark.integration

DESK = ROOT / "samples" / "desk.jpg"
CODES = ROOT / "model_repository" / "codes" / "1" / "model.onnx"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {
        "old": _detector(folder / "old.onnx", ("ant", "bee"), 1, side=32, left=0),
        "new": _detector(folder / "new.onnx", ("x", "y", "cat"), 2, side=64, left=16),
    }


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A stack with an empty model repository."""
    models = tmp_path_factory.mktemp("models")
    env = QUICK | {"SLUICE_TRITON_MODELS_TTL_S": "1"}
    state = tmp_path_factory.mktemp("state")
    with live_stack(state, "--models", str(models), workers=1, env=env) as live:
        yield live


@pytest.fixture(scope="module")
def codes(live: Live) -> tuple[str, str]:
    """The shipped detector by both recipes, the worker's first."""
    options = ("--names", "qr_code,barcode,marker", "--no-fold")
    _done(live, "add", CODES, "--name", "own", *options)
    facts = _done(live, "add", CODES, "--name", "whole", "--ensemble", *options)
    assert facts["recipe"] == "ensemble"
    return "own", "whole"


@pytest.fixture(scope="module")
def image() -> bytes:
    """A grey image of 64 x 64: one network pixel of the larger model is one of the image."""
    return cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))[1].tobytes()


def _run(live: Live, image: bytes | Path, model: str, **parameters: Any) -> dict[str, Any]:
    with Client(live.api, timeout_s=60) as client:
        return client.wait(client.submit(image, model=model, **parameters).id).raw


def _without_ids(output: dict[str, Any]) -> dict[str, Any]:
    found = [
        {key: value for key, value in entry.items() if key != "detection_id"}
        for entry in output["predictions"]
    ]
    return output | {"predictions": found}


def _steps(live: Live) -> dict[str, str]:
    """The state of each step in Triton's repository."""
    index = httpx.post(f"{live.triton_http}/v2/repository/index", json={}).json()
    return {e["name"]: e.get("state", "") for e in index if e["name"].count(".") == 2}


def _ready_steps(live: Live, name: str) -> set[str]:
    return {n for n, s in _steps(live).items() if s == "READY" and n.startswith(f"{name}.")}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"confidence": 0.01, "iou": 0.9},
        {"classes": ["marker", "0"], "class_agnostic": True},
        {"max_detections": 1},
    ],
)
def test_both_recipes_give_the_same_output(
    live: Live, codes: tuple[str, str], parameters: dict[str, Any]
) -> None:
    own, whole = (_run(live, DESK, model, **parameters) for model in codes)
    assert own["output"]["predictions"]
    assert _without_ids(whole["output"]) == _without_ids(own["output"])
    first = whole["output"]["predictions"][0]
    assert first["detection_id"] == f"{whole['id']}-0"
    assert set(own["metrics"]) | {"triton_time"} == set(whole["metrics"])


def test_the_drawings_are_the_same_too(live: Live, codes: tuple[str, str]) -> None:
    drawings = []
    for model in codes:
        prediction = _run(live, DESK, model, visualize=True, output_format="png")
        assert prediction["metrics"]["annotate_time"] > 0
        with Client(live.api) as client:
            drawings.append(client.annotated(prediction["id"]))
    assert drawings[0][:4] == b"\x89PNG"
    assert drawings[0] == drawings[1]


def test_clients_see_the_recipe_and_no_step(live: Live, codes: tuple[str, str]) -> None:
    with Client(live.api) as client:
        page = httpx.get(f"{live.api}/v1/models").json()
        listed = {model["name"]: model["recipe"] for model in page["results"]}
        assert (listed["own"], listed["whole"]) == ("worker", "ensemble")
        assert not [name for name in listed if "." in name]
        with pytest.raises(ServiceError) as refused:
            client.submit(DESK, model="whole.1.network")
        assert refused.value.code == "unknown_model"
    printed = json.loads(_models(live, "list", "--json").stdout)
    shown = {model["name"]: model["recipe"] for model in printed}
    assert (shown["own"], shown["whole"]) == ("worker", "ensemble")
    assert not [name for name in shown if "." in name]


def test_a_damaged_image_has_the_same_error(live: Live, codes: tuple[str, str]) -> None:
    """The header is whole, so that the api takes it; only a decoder finds the damage."""
    data = bytearray(DESK.read_bytes())
    at = data.rindex(b"\xff\xda") + 2000
    cut = bytes(data[:at]) + b"\xff\xd9"
    own, whole = (_run(live, cut, model) for model in codes)
    assert own["status"] == whole["status"] == "failed"
    assert own["error"] == whole["error"]
    assert own["error_code"] == whole["error_code"] == "truncated_image"


def test_a_batch_runs_and_a_canceled_prediction_ends(live: Live, codes: tuple[str, str]) -> None:
    with Client(live.api, timeout_s=60) as client:
        ids = [client.submit(DESK, model=codes[1]).id for _ in range(12)]
        httpx.post(f"{live.api}/v1/predictions/{ids[-1]}/cancel")
        statuses = [client.wait(each).status for each in ids]
    assert set(statuses[:-1]) == {"succeeded"}
    assert statuses[-1] in {"canceled", "succeeded"}


def test_every_answer_is_wholly_one_version_while_versions_change(
    live: Live, files: dict[str, Path], image: bytes
) -> None:
    added = _done(live, "add", files["old"], "--name", "m", "--ensemble", "--processes", "1")
    assert added["version"] == 1
    triton = Triton(live.triton_grpc, timeout_s=10)
    network = in_triton.with_canvas(triton, "m")
    load = Load(live, image, "m")
    with load.running():
        load.seen_from_now(ANSWERS["old"])
        _done(live, "add", files["new"], "--name", "m", "--ensemble", "--processes", "1")
        load.seen_from_now(ANSWERS["new"])
        assert _ready_steps(live, "m") == {f"m.2.{s}" for s in ("prepare", "network", "finish")}
        with pytest.raises(ModelReplaced), triton.slot(network) as slot:
            slot.infer()
        _done(live, "rollback", "m")
        load.seen_from_now(ANSWERS["old"])
        assert _ready_steps(live, "m") == {f"m.1.{s}" for s in ("prepare", "network", "finish")}
        _done(live, "add", files["new"], "--name", "m")  # by the other recipe
        load.seen_from_now(ANSWERS["new"])
        assert _ready_steps(live, "m") == set()
        _done(live, "rollback", "m", "--version", 2)
        load.seen_from_now(ANSWERS["new"])
    triton.close()
    assert load.failures == []
    assert load.refused == []
    assert set(load.answers) == set(ANSWERS.values())
    done = _models(live, "remove", "m")
    assert done.returncode == 0, done.stderr
    assert _ready_steps(live, "m") == set()
    with Client(live.api) as client, pytest.raises(ServiceError) as refused:
        client.submit(image, model="m")
    assert refused.value.code == "unknown_model"


def test_all_outputs_are_read_where_candidates_do_not_suffice(
    live: Live, tmp_path: Path, image: bytes
) -> None:
    """A folded graph gives 2000 candidates. Here all of them are one box; another one is left."""
    rows = np.zeros((5, 2100), np.float32)
    rows[:4] = np.array([[20, 20, 10, 10]]).T
    rows[:4, 2050:] = np.array([[200, 200, 10, 10]]).T
    rows[4], rows[4, 2050:] = 0.9, 0.5
    made = tiny.detector(rows, np.zeros_like(rows), size=(320, 320))
    onnx.helper.set_model_props(made, {"task": "detect", "names": "{0: 'a'}", "stride": "32"})
    (tmp_path / "many.onnx").write_bytes(made.SerializeToString())
    for name, options in {"many-own": (), "many-whole": ("--ensemble",)}.items():
        assert _done(live, "add", tmp_path / "many.onnx", "--name", name, *options)["folded"]
        found = _run(live, image, name)["output"]["predictions"]
        assert [entry["confidence"] for entry in found] == [0.9, 0.5], name
