from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sluice.models import ChannelOrder, Layout, Model, Task, Tensor
from sluice.vision.canvas import fill
from sluice.vision.letterbox import Letterbox

DTYPES = {"UINT8": np.uint8, "FP16": np.float16, "FP32": np.float32}
VIEW = Letterbox.fit((8, 8), (8, 8))


def drawn(colour: tuple[int, int, int], dtype: str, dims: tuple[int, ...], **changes: Any) -> Any:
    """Return the input of a model for an image of one colour."""
    model = Model(
        name="shapes",
        task=Task.DETECT,
        layout=Layout.ANCHOR_FREE,
        names=("a",),
        imgsz=(8, 8),
        input=Tensor("images", dtype, dims),
        outputs=(),
        batched=True,
    )
    target = np.zeros(dims, DTYPES[dtype])
    fill(target, VIEW, np.full((8, 8, 3), colour, np.uint8), replace(model, **changes))
    return target


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_the_colours_is_the_models(dtype: str) -> None:
    rgb = drawn((255, 102, 0), dtype, (3, 8, 8), pixel_max=255)
    bgr = drawn((255, 102, 0), dtype, (3, 8, 8), pixel_max=255, channel_order=ChannelOrder.BGR)
    assert rgb[:, 0, 0].tolist() == [255, 102, 0]
    assert bgr[:, 7, 7].tolist() == [0, 102, 255]
    last = drawn((255, 102, 0), dtype, (8, 8, 3), pixel_max=255, channel_order=ChannelOrder.BGR)
    assert last[3, 4].tolist() == [0, 102, 255]


@pytest.mark.parametrize("dtype", ["FP16", "FP32"])
def test_every_value_is_the_quotient_rounded_once(dtype: str) -> None:
    quotients = [drawn((value, 0, 255), dtype, (3, 8, 8))[0, 0, 0] for value in range(256)]
    exact = (np.arange(256) / 255).astype(DTYPES[dtype])
    assert np.array_equal(quotients, exact)


@pytest.mark.parametrize(("dims", "dtype"), [((1, 8, 8), "FP32"), ((8, 8, 1), "UINT8")])
def test_a_grey_model_gets_the_luma(dims: tuple[int, ...], dtype: str) -> None:
    """A green of 100 has the luma 0.587 * 100."""
    pixels = drawn((0, 100, 0), dtype, dims, pixel_max=255)
    assert pixels.shape == dims
    assert (pixels == 59).all()
