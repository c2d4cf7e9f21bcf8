"""The part of a folded graph that selects candidates: the rows with the best scores, in order.

Shapes: N images, A anchors, C classes, E values that the task adds to a row, K candidates.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sluice.repository.nodes import Nodes
from sluice.vision.heads.layouts import GRID_STRIDES

MOST = 2000
"""K at most: enough that no candidate above the usual confidence is left out."""
MOST_WIDE = 1000
"""K at most where a row has more than one value of the task, such as mask coefficients."""


@dataclass(frozen=True)
class Table:
    """A float32 tensor with a row an anchor: a box, any objectness, the classes, the extras."""

    tensor: str
    axis: int
    """The axis of a row's values: 1 for anchor-free, 2 for anchors. The other one has anchors."""
    anchors: int
    classes: int
    extras: int
    objectness: bool

    @property
    def count(self) -> int:
        """K, the number of candidates."""
        return min(self.anchors, MOST if self.extras <= 1 else MOST_WIDE)


def select(nodes: Nodes, table: Table, name: str) -> None:
    """Add the output `name`, (N, K, 6+E) float32, of the best rows of `table`.

    A row is cx, cy, w, h, the score of the best class, its class id, and the extras. The best row
    comes first. Of equal scores the lower anchor comes first, as a stable sort would have it.
    """
    first_class = 5 if table.objectness else 4
    first_extra = first_class + table.classes
    values = first_extra + table.extras
    scores = nodes.greatest(
        nodes.cut(table.tensor, table.axis, first_class, first_extra), table.axis
    )
    if table.objectness:
        # The greatest product is the product of the greatest: no objectness is below 0.
        scores = nodes.add("Mul", scores, nodes.cut(table.tensor, table.axis, 4, 5))
    index = _order(nodes, scores, 3 - table.axis, table)

    shape = [1, 1, 1]
    shape[table.axis] = values
    everywhere = nodes.add("Expand", index, nodes.constant(shape))
    rows = nodes.add("GatherElements", table.tensor, everywhere, axis=3 - table.axis)
    classes = nodes.cut(rows, table.axis, first_class, first_extra)
    if table.objectness:
        classes = nodes.add("Mul", classes, nodes.cut(rows, table.axis, 4, 5))
    parts = [
        nodes.cut(rows, table.axis, 0, 4),
        nodes.greatest(classes, table.axis),
        nodes.cast(nodes.add("ArgMax", classes, axis=table.axis, keepdims=1), np.float32),
    ]
    if table.extras:
        parts.append(nodes.cut(rows, table.axis, first_extra, values))
    if table.axis == 2:
        nodes.add("Concat", *parts, name=name, axis=2)
    else:
        nodes.add("Transpose", nodes.add("Concat", *parts, axis=1), name=name, perm=[0, 2, 1])


def _order(nodes: Nodes, scores: str, axis: int, table: Table) -> str:
    """Return the K best anchors' indices, int64, along `axis` of `scores`.

    OpenVINO's TopK gives equal scores in any order, so each run of equals is sorted by its indices:
    a second TopK sorts the number of the run times the anchors, plus the index.
    """
    count = table.count
    best, index = nodes.top(scores, axis, count, largest=True)
    before = nodes.add(
        "Concat", nodes.cut(best, axis, 0, 1), nodes.cut(best, axis, 0, count - 1), axis=axis
    )
    step = nodes.cast(nodes.add("Less", best, before), np.float32)
    run = nodes.cast(nodes.add("CumSum", step, nodes.constant(axis)), np.int32)
    base = nodes.add("Mul", run, nodes.constant(table.anchors, np.int32))
    keys = nodes.add("Add", base, nodes.cast(index, np.int32))
    ordered, _ = nodes.top(keys, axis, count, largest=False)
    return nodes.cast(nodes.add("Sub", ordered, base), np.int64)


def decode_grid(nodes: Nodes, output: str, imgsz: tuple[int, int], values: int, name: str) -> None:
    """Add `name`, (N, A, values) in the layout anchors, from `output` in the layout grid.

    See sluice.vision.heads.layouts. Sizes are in network pixels, imgsz is (height, width).
    """
    cells = [_cells(side // stride for side in imgsz) for stride in GRID_STRIDES]
    strides = np.repeat(GRID_STRIDES, [len(some) for some in cells])[:, None]
    stride = nodes.constant(strides, np.float32)
    corner = nodes.constant(np.concatenate(cells), np.float32)
    shifted = nodes.add("Add", nodes.cut(output, 2, 0, 2), corner)
    sizes = nodes.add("Exp", nodes.cut(output, 2, 2, 4))
    nodes.add(
        "Concat",
        nodes.add("Mul", shifted, stride),
        nodes.add("Mul", sizes, stride),
        nodes.cut(output, 2, 4, values),
        name=name,
        axis=2,
    )


def decode_map(
    nodes: Nodes,
    output: str,
    shape: Sequence[int],
    imgsz: tuple[int, int],
    anchors: Sequence[tuple[float, float]],
) -> str:
    """Return (N, B·h·w, values) in the layout anchors, from one of the outputs in the layout maps.

    `shape` is (N, B, h, w, values), for the B `anchors` (width, height) in network pixels.
    """
    _, _, rows, columns, values = shape
    stride = nodes.constant((imgsz[1] / columns, imgsz[0] / rows), np.float32)
    two = nodes.constant(2, np.float32)
    cells = _cells((rows, columns)).reshape(rows, columns, 2) - 0.5
    sigmoid = nodes.add("Sigmoid", output)
    centres = nodes.add("Mul", nodes.cut(sigmoid, 4, 0, 2), two)
    centres = nodes.add("Add", centres, nodes.constant(cells, np.float32))
    doubled = nodes.add("Mul", nodes.cut(sigmoid, 4, 2, 4), two)
    anchor = nodes.constant(np.array(anchors)[:, None, None, :], np.float32)
    table = nodes.add(
        "Concat",
        nodes.add("Mul", centres, stride),
        nodes.add("Mul", nodes.add("Mul", doubled, doubled), anchor),
        nodes.cut(sigmoid, 4, 4, values),
        axis=4,
    )
    return nodes.add("Reshape", table, nodes.constant((0, len(anchors) * rows * columns, values)))


def _cells(sides: Iterable[int]) -> npt.NDArray[np.int64]:
    """Return x and y of each cell of a grid of (rows, columns), row by row: (cells, 2)."""
    rows, columns = sides
    y, x = np.mgrid[:rows, :columns]
    return np.column_stack((x.ravel(), y.ravel()))
