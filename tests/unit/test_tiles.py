"""Cutting an image into tiles."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from sluice.tiles import Tile, count, cut

LENGTHS = st.integers(1, 3000)
SIZES = st.integers(1, 800)


def test_an_image_that_fits_is_one_tile() -> None:
    assert cut((480, 640), (640, 640), 0.2) == [Tile(0, 0, 480, 640)]


def test_tiles_are_whole_and_end_at_the_borders() -> None:
    assert cut((640, 1000), (640, 640), 0.2) == [Tile(0, 0, 640, 640), Tile(0, 360, 640, 640)]
    # Two tiles with the least overlap would end at 1152.
    assert [tile.left for tile in cut((640, 1200), (640, 640), 0.2)] == [0, 280, 560]


@given(LENGTHS, LENGTHS, SIZES, SIZES, st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9]))
def test_tiles_cover_the_image_overlap_enough_and_are_as_many_as_counted(
    height: int, width: int, tile_height: int, tile_width: int, overlap: float
) -> None:
    number = count((height, width), (tile_height, tile_width), overlap)
    if number > 20_000:
        return
    tiles = cut((height, width), (tile_height, tile_width), overlap)
    assert len(tiles) == len(set(tiles)) == number
    for starts, length, size in (
        (sorted({tile.top for tile in tiles}), height, tile_height),
        (sorted({tile.left for tile in tiles}), width, tile_width),
    ):
        assert starts[0] == 0
        assert starts[-1] + min(size, length) == length
        for before, after in itertools.pairwise(starts):
            shared = before + size - after
            assert shared >= min(size - 1, int(size * overlap))
    assert {(tile.height, tile.width) for tile in tiles} == {
        (min(height, tile_height), min(width, tile_width))
    }
