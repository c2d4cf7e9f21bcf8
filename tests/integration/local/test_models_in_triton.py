"""Models as people write and replace them by hand, in the real Triton."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from sluice.errors import TritonUnavailable
from sluice.local.stack import Stack, StackConfig
from sluice.models import Model
from sluice.vision import heads
from sluice.vision.heads import DecodeParameters, Detections
from sluice.vision.triton.client import Triton
from sluice.vision.triton.errors import ModelReplaced

from .conftest import FLOAT, FLOAT16, onnx_graph

pytestmark = pytest.mark.integration

IMAGE = np.full((64, 64, 3), 200, np.uint8)


def rows(score: float, classes: int, anchors: int = 8) -> np.ndarray:
    """An anchor-free output (4+C, anchors) with one box, of the last class."""
    table = np.zeros((4 + classes, anchors), np.float32)
    table[:4, 0] = 32, 32, 16, 8
    table[3 + classes, 0] = score
    return table


def graph(table: np.ndarray, batch: int | str = 1, dtype: int = FLOAT) -> bytes:
    """A graph that answers `table` for the first image, and nothing for the others."""
    count = batch if isinstance(batch, int) else 1
    answer = np.concatenate((table[None], np.zeros((count - 1, *table.shape), np.float32)))
    answer = answer.astype(np.float16 if dtype == FLOAT16 else np.float32)
    return onnx_graph(
        [("Identity", ["answer"], ["output0"])],
        {"images": (dtype, [batch, 3, 64, 64])},
        {"output0": (dtype, [count, *table.shape])},
        {"answer": (dtype, list(answer.shape), answer.tobytes())},
    )


def config(names: list[str], **parameters: str) -> str:
    """The configuration that docs/guide/models.md asks for."""
    lines = [
        'backend: "onnxruntime"',
        "max_batch_size: 0",
        'parameters { key: "sluice.layout" value: { string_value: "anchor-free" } }',
    ]
    for key, value in {"names": json.dumps(names), "imgsz": "[64, 64]", **parameters}.items():
        text = json.dumps(value)
        lines.append(f'parameters {{ key: "sluice.{key}" value: {{ string_value: {text} }} }}')
    return "\n".join(lines)


def write(folder: Path, model: bytes, text: str, version: int = 1) -> None:
    """Replace a model's files, as a person does by hand."""
    shutil.rmtree(folder / str(version), ignore_errors=True)
    (folder / str(version)).mkdir(parents=True)
    (folder / str(version) / "model.onnx").write_bytes(model)
    (folder / "config.pbtxt").write_text(text)


def load(stack: Stack, name: str, action: str = "load") -> None:
    url = f"{stack.addresses.triton_http}/v2/repository/models/{name}/{action}"
    httpx.post(url, json={}, timeout=30).raise_for_status()


def predict(triton: Triton, name: str) -> tuple[Model, Detections]:
    """One inference, as the pipeline does it."""
    while True:
        model = triton.model(name)
        view = heads.fit(model, IMAGE.shape[:2])
        try:
            with triton.slot(model) as slot:
                outputs = slot.infer()
                result = heads.decode(model, outputs, DecodeParameters(), view)
        except ModelReplaced:
            continue
        assert isinstance(result, Detections)
        return model, result


def client(stack: Stack, **options: Any) -> Triton:
    return Triton(
        stack.addresses.triton_grpc,
        timeout_s=10,
        region_prefix=f"{stack.shm_prefix}test-",
        **options,
    )


FIXED = {"one": (1, FLOAT), "half": (1, FLOAT16), "sixteen": (16, FLOAT)}
"""Models for a fixed number of images."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the fixed models. A test adds its own, and has Triton load them."""
    models = tmp_path_factory.mktemp("models")
    for name, (batch, dtype) in FIXED.items():
        write(models / name, graph(rows(0.75, 2), batch, dtype), config(["a", "b"]))
    return models


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The Triton that the tests share."""
    state, parts = tmp_path_factory.mktemp("state"), frozenset({"triton"})
    with Stack(StackConfig(state=state, models=models, port=0, parts=parts)) as stack:
        yield stack


@pytest.mark.parametrize("shared_memory", [True, False])
def test_a_fixed_batch_is_served(stack: Stack, shared_memory: bool) -> None:
    triton = client(stack, shared_memory=shared_memory)
    for name in FIXED:
        model, result = predict(triton, name)
        assert [model.names[i] for i in result.class_ids] == ["b"], name
        assert result.boxes.tolist() == [[24, 28, 40, 36]], name
    triton.close()


class TestReplacement:
    """Every answer is wholly the old version's or wholly the new one's, and none fails."""

    OLD = (["old"], 0.75)
    NEW = (["other", "new"], 0.5)  # another number of classes, so another shape

    def seen_during(
        self, triton: Triton, name: str, change: Callable[[], None]
    ) -> list[tuple[tuple[str, ...], str, float]]:
        """Predict on four threads, before, during and after `change`."""
        seen: list[tuple[tuple[str, ...], str, float]] = []
        errors: list[Exception] = []
        done = threading.Event()

        def work() -> None:
            try:
                while not done.is_set():
                    model, result = predict(triton, name)
                    (class_id,), (score,) = result.class_ids, result.scores
                    seen.append((model.names, model.names[class_id], float(score)))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(seen) < 50 and not errors:
            done.wait(0.01)
        change()
        after = len(seen)
        while len(seen) < after + 50 and not errors:
            done.wait(0.01)
        done.set()
        for thread in threads:
            thread.join()
        assert not errors
        return seen

    def check(self, seen: list[tuple[tuple[str, ...], str, float]]) -> None:
        assert set(seen) == {(("old",), "old", 0.75), (("other", "new"), "new", 0.5)}
        assert seen[0][1] == "old"
        assert seen[-1][1] == "new"

    def test_files_replaced_under_one_version(self, models: Path, stack: Stack) -> None:
        name = "replaced"
        folder = models / name
        names, score = self.OLD
        write(folder, graph(rows(score, len(names))), config(names))
        load(stack, name)
        triton = client(stack)

        def change() -> None:
            names, score = self.NEW
            write(folder, graph(rows(score, len(names))), config(names))
            load(stack, name)

        self.check(self.seen_during(triton, name, change))
        triton.close()

    def test_a_new_version(self, models: Path, stack: Stack) -> None:
        name = "updated"
        folder = models / name

        def put(version: int, names: list[str], score: float) -> None:
            policy = f"\nversion_policy {{ specific {{ versions: [{version}] }} }}"
            text = config(names, version=str(version)) + policy
            write(folder, graph(rows(score, len(names))), text, version)

        put(1, *self.OLD)
        load(stack, name)
        triton = client(stack, models_ttl_s=3600)  # only errors tell of the new version

        def change() -> None:
            put(2, *self.NEW)
            load(stack, name)

        self.check(self.seen_during(triton, name, change))
        load(stack, name, "unload")
        with pytest.raises(TritonUnavailable, match="not loaded"):
            predict(triton, name)
        triton.close()
