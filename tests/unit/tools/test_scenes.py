"""Scenes are the same for the same seed, and their labels lie where they should."""

import cv2
import numpy as np
import pytest

pytest.importorskip(
    "segno",
    reason="segno draws the QR codes; it is in tools/requirements.in, not in the service's own",
)

from tools.codes import SIZE, backgrounds, scenes, symbols, things


@pytest.mark.parametrize("held_out", [False, True])
def test_the_same_seed_gives_the_same_scene(held_out: bool) -> None:
    first, second = (scenes.render(np.random.default_rng([1, 2]), held_out) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.boxes, second.boxes)


def test_labels_lie_inside_the_picture() -> None:
    for index in range(12):
        scene = scenes.render(np.random.default_rng([2, index]))
        image, scale, pad = scenes.letterbox(scene.image)
        assert image.shape == (SIZE, SIZE, 3)
        assert image.dtype == np.uint8
        rows = scenes.network_labels(scene, scale, pad)
        assert len(scene.boxes) == len(scene.kinds) == len(scene.ignored) == len(rows)
        low, high = np.tile(pad, 2), np.tile(SIZE - np.array(pad), 2)
        assert (rows[:, :4] >= low - 1).all()
        assert (rows[:, :4] <= high + 1).all()
        assert (rows[:, 2:4] > rows[:, :2]).all()
        assert set(rows[:, 4]) <= {0, 1, 2}


def test_a_box_is_tight_and_without_quiet_zone() -> None:
    """A marker laid flat on grey: its label is its black square."""
    rng = np.random.default_rng(0)
    flat = things.sheet(300, 300, np.full(3, 240, np.float32))
    black, white = np.zeros(3, np.float32), np.full(3, 240, np.float32)
    code = things.paint(
        rng, flat, symbols.marker("DICT_4X4_50", 1), 60, 60, 180, 1, dark=black, light=white
    )
    image, placed = np.full((400, 400, 3), 128, np.uint8), []
    scenes.lay(
        image,
        placed,
        things.whole(flat, [code]),
        np.array([[1, 0, 50], [0, 1, 50], [0, 0, 1.0]]),
        0,
        1,
    )
    boxes, kinds, ignored = scenes.label(placed, 400, 400, 0.0)
    y, x = np.nonzero(image[..., 0] < 60)
    assert np.abs(boxes[0] - [x.min(), y.min(), x.max() + 1, y.max() + 1]).max() <= 1.5
    assert kinds.tolist() == [symbols.MARKER]
    assert not ignored[0]


@pytest.mark.parametrize(("cover", "flag"), [(40, False), (130, True)])
def test_a_code_that_is_mostly_covered_is_ignored(cover: int, flag: bool) -> None:
    rng = np.random.default_rng(0)
    flat = things.sheet(200, 200, np.full(3, 250, np.float32))
    code = things.paint(
        rng, flat, symbols.qr("A"), 10, 10, 180, 0, dark=np.zeros(3), light=np.full(3, 250.0)
    )
    image, placed = np.full((200, 200, 3), 128, np.uint8), []
    scenes.lay(image, placed, things.whole(flat, [code]), np.eye(3), 0, 1)
    scenes.lay(
        image, placed, things.whole(things.sheet(200, cover, np.full(3, 9.0))), np.eye(3), 0, 1
    )
    assert scenes.label(placed, 200, 200, 0.0)[2].tolist() == [flag]


def test_training_and_held_out_backgrounds_differ() -> None:
    assert not set(backgrounds.TRAIN) & set(backgrounds.HELD_OUT)
    assert len(backgrounds.TRAIN) >= 14
    assert len(backgrounds.HELD_OUT) >= 4
    for family in backgrounds.TRAIN + backgrounds.HELD_OUT:
        image = family(np.random.default_rng(1), 90, 120)
        assert image.shape == (90, 120, 3)
        assert image.dtype == np.uint8


def test_a_turned_sample_is_upright_after_exif() -> None:
    from tools.codes.samples import encode

    image = np.zeros((80, 60, 3), np.uint8)
    image[:20] = (255, 0, 0)
    data = np.frombuffer(encode(image, True), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).shape == (60, 80, 3)
    upright = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert upright.shape == (80, 60, 3)
    assert upright[5, 30, 2] > 200
