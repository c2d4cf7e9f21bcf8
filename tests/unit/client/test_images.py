"""Images in each form that a program has them."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sluice.client.images import name_of, read

# Blue, green, red, and one value alike in no two channels.
BGR = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)


def _decoded(data: bytes | str) -> np.ndarray:
    assert isinstance(data, bytes)
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def test_bytes_files_and_paths_are_sent_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"image")
    assert {read(b"image"), read(bytearray(b"image")), read(path), read(str(path))} == {b"image"}
    with path.open("rb") as file:
        assert read(file) == b"image"
        assert name_of(file) == str(path)


@pytest.mark.parametrize("url", ["https://x/a.jpg", "HTTP://x/a.jpg", "data:image/png;base64,AA"])
def test_a_url_stays_a_url(url: str) -> None:
    assert read(url) == url


def test_only_a_path_or_a_url_is_a_name() -> None:
    assert name_of(Path("a/b.jpg")) == "a/b.jpg"
    assert name_of("https://x/a.jpg") == "https://x/a.jpg"
    assert name_of("data:image/png;base64,AA") is None
    assert name_of(b"image") is None


@pytest.mark.parametrize(
    "array",
    [BGR, BGR[:, :, 0], BGR[:, :, :1], np.dstack([BGR, [[0, 1, 2, 255]]]).astype(np.uint8)],
    ids=["colour", "grey", "grey-with-an-axis", "alpha"],
)
def test_an_array_is_read_as_opencv_has_it(array: np.ndarray) -> None:
    assert np.array_equal(
        _decoded(read(array)), array.squeeze(axis=2) if array.shape[2:] == (1,) else array
    )


@pytest.mark.parametrize(
    "array", [BGR.astype(np.float32), np.zeros((2, 2, 2), np.uint8), np.zeros(3, np.uint8)]
)
def test_an_array_of_another_kind_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        read(array)


def test_an_image_of_pillow_keeps_the_pixels_that_the_program_sees() -> None:
    image = Image.fromarray(np.ascontiguousarray(BGR[:, :, ::-1]))
    exif = Image.Exif()
    exif[274] = 6  # the orientation: a reader that applies it would turn the image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=100)
    opened = Image.open(buffer)
    sent = read(opened)
    assert isinstance(sent, bytes)
    assert Image.open(io.BytesIO(sent)).getexif().get(274) is None
    assert np.array_equal(_decoded(sent)[:, :, ::-1], np.asarray(opened))


def test_anything_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not int"):
        read(3)
    with pytest.raises(OSError, match="none"):
        read(tmp_path / "none.jpg")
    path = tmp_path / "text"
    path.write_text("x")
    with path.open() as file, pytest.raises(TypeError, match="binary"):
        read(file)
