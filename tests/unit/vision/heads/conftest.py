from collections.abc import Callable

import pytest

from sluice.models import Layout, Model, Task, Tensor

MakeModel = Callable[..., Model]

#: The layouts that every task has. The others have tests of their own.
LAYOUTS = [Layout.ANCHORS, Layout.ANCHOR_FREE, Layout.END_TO_END, Layout.CANDIDATES]


@pytest.fixture
def make_model() -> MakeModel:
    """Builds a model with a square input, and outputs named output0 and output1."""

    def make(
        task: Task, layout: Layout = Layout.ANCHOR_FREE, classes: int = 3, side: int = 64
    ) -> Model:
        return Model(
            name="shapes",
            task=task,
            layout=layout,
            names=tuple(f"class {i}" for i in range(classes)),
            imgsz=(side, side),
            input=Tensor("images", "FP32", (3, side, side)),
            outputs=(Tensor("output0", "FP32", (-1, -1)), Tensor("output1", "FP32", (-1, -1, -1))),
            batched=True,
        )

    return make
