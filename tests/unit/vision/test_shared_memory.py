"""A region's layout, its views and its name."""

from pathlib import Path

import numpy as np
import pytest

from sluice.vision.shared_memory import Region, RegionLayout

LAYOUT = RegionLayout(
    {
        "images": ((1, 5, 7, 3), np.dtype(np.uint8)),
        "output0": ((1, 4, 6), np.dtype(np.float32)),
    }
)


def _region(layout: RegionLayout = LAYOUT) -> Region:
    region = Region(layout, "sluice-test-region-")
    region.unlink()
    return region


def test_arrays_lie_on_boundaries_one_after_another() -> None:
    images, output = LAYOUT.places["images"], LAYOUT.places["output0"]
    assert (images.offset, images.size) == (0, 105)
    assert (output.offset, output.size) == (128, 96)
    assert LAYOUT.size == 256


def test_views_have_their_shapes_and_share_the_memory() -> None:
    region = _region()
    images, output = region.view("images"), region.view("output0")
    assert (images.shape, images.dtype) == ((1, 5, 7, 3), np.uint8)
    assert (output.shape, output.dtype) == ((1, 4, 6), np.float32)
    images[:], output[:] = 7, 0.5
    assert (region.view("images") == 7).all()
    assert (region.view("output0") == 0.5).all()


def test_a_copy_has_the_same_bytes() -> None:
    first, second = _region(), _region()
    first.view("images")[:] = 9
    second.copy_from(first)
    assert (second.view("images") == 9).all()


def test_a_view_outlives_the_name_and_the_region() -> None:
    region = Region(LAYOUT, "sluice-test-region-")
    path = Path("/dev/shm", region.name)
    assert path.stat().st_size == LAYOUT.size
    view = region.view("output0")
    region.unlink()
    assert not path.exists()
    del region
    view[:] = 3
    assert view.sum() == 72


def test_too_little_memory_is_an_error_that_leaves_no_name() -> None:
    with pytest.raises(OSError, match=r"."):
        Region(RegionLayout({"all": ((2**60,), np.dtype(np.uint8))}), "sluice-test-full-")
    assert not list(Path("/dev/shm").glob("sluice-test-full-*"))
